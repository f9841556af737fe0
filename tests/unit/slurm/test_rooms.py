"""Who may import whom in agent/slurm: the ways in know what is Slurm's own, and never each other."""

import ast
from pathlib import Path

import pytest

SLURM = Path(__file__).parents[3] / "agent" / "slurm"
WAYS_IN = ("cli", "rest", "pyslurm")
CHOOSERS = {"choice.py", "rechooser.py"}


def rooms_of(module: Path) -> set[str]:
    """Return the parts of agent.slurm that a module imports."""
    found = {n.module for n in ast.walk(ast.parse(module.read_text())) if isinstance(n, ast.ImportFrom)}
    return {name.split(".")[2] for name in found if name and name.startswith("agent.slurm.")}


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_way_in_knows_no_other_one(way: str) -> None:
    for module in (SLURM / way).glob("*.py"):
        known = rooms_of(module)
        assert not known & ({*WAYS_IN, "choice", "rechooser"} - {way}), f"{module}: {known}"


def test_only_who_chooses_knows_the_ways_in() -> None:
    for module in SLURM.glob("*.py"):
        known = rooms_of(module) & {*WAYS_IN, "choice"}
        assert not known or module.name in CHOOSERS, f"{module}: {known}"
