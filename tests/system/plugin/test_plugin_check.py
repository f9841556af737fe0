"""`esagent check` on a Slurm that has the parts, and on one where a piece of them is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

LEASE = "/run/esagent/lease"


def findings(agent) -> dict[str, tuple[str, str]]:
    """Return subject -> grade and words."""
    told = json.loads(agent.ask("check", "--json", "--config", str(agent.conf)).stdout)
    return {f["subject"]: (f["grade"], f["seen"]) for f in told["findings"]}


@pytest.fixture
def set_up(agent, plugged) -> None:
    """agent.conf says what the parts want to hear."""
    settings = f'table = "{plugged.table}"\nlease = "{LEASE}"\norphan_after = "1h"\n'
    agent.change("[join]\n", f"[plugin]\n{settings}[join]\n")
    agent.change(f'socket = "{agent.socket}"', f'socket = "{plugged.socket}"')


PIECES = {
    "esagent_submit.lua": "submit policy",
    "esagent-poke": "EpilogSlurmctld",
    "lib/spank_esagent.so": "SPANK plugin",
}


@pytest.fixture
def without_pieces(plugged) -> Iterator[None]:
    """One piece of each part is away."""
    for piece in PIECES:
        (plugged.etc / piece).rename(plugged.etc / f"{piece}.away")
    yield
    for piece in PIECES:
        (plugged.etc / f"{piece}.away").rename(plugged.etc / piece)


@pytest.mark.usefixtures("set_up")
def test_all_parts_in_place_are_found_fine(agent, plugged, has_lua: bool) -> None:
    found = findings(agent)
    assert found["submit policy"][0] == ("ok" if has_lua else "warning")
    assert found["EpilogSlurmctld"][0] == "ok"
    assert found["HealthCheckProgram"][0] == "ok"
    assert found["SPANK plugin"] == ("ok", f"{plugged.etc}/lib/spank_esagent.so")


@pytest.mark.usefixtures("set_up", "without_pieces")
def test_each_missing_piece_is_a_fault_and_named(agent, plugged) -> None:
    found = findings(agent)
    for piece, subject in PIECES.items():
        grade, seen = found[subject]
        assert grade == "fault"
        assert str(plugged.etc / piece) in seen


def test_a_poke_that_speaks_to_another_socket_is_found(agent, plugged) -> None:
    grade, seen = findings(agent)["EpilogSlurmctld"]
    assert grade == "warning"
    assert f"speaks to {plugged.socket}, and [admin] socket is {agent.socket}" in seen


@pytest.mark.usefixtures("lua")
def test_parts_that_the_agent_tells_nothing_are_found(agent, plugged) -> None:
    found = findings(agent)
    assert found["submit policy"][0] == "warning"
    assert "no table is written" in found["submit policy"][1]
