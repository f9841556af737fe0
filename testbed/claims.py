"""What a demonstration claims, and what was then seen from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

FILES = ("claims.txt", "claims.json")
"""The closing table, for people and for programs."""


@dataclass(frozen=True)
class Claim:
    """Something that is said, and what was seen of it."""

    words: str
    seen_from: str
    value: str
    ok: bool


def close(claims: Sequence[Claim], console: Console, out: Path) -> bool:
    """Print the closing table, keep it in a directory, and tell whether all of it holds."""
    table = Table("claim", "seen from", "value", "ok", title="What was claimed, and what was seen")
    for claim in claims:
        table.add_row(claim.words, claim.seen_from, claim.value, "yes" if claim.ok else "NO")
    console.print()
    console.print(table)
    for_people, for_programs = (out / name for name in FILES)
    with for_people.open("w") as file:
        Console(file=file, width=140).print(table)
    for_programs.write_text(json.dumps([asdict(claim) for claim in claims], indent=2) + "\n")
    return all(claim.ok for claim in claims)
