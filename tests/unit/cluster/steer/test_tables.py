"""What the agent writes is what the submit policy reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lupa import lua51

from agent.cluster.settings.plugin import PluginSettings
from agent.cluster.steer.tables import borrowed_table, lease_table, write_table
from agent.core.errors import ConfigError

POLICY = Path(__file__).parents[4] / "contrib/slurm-plugin/esagent_submit.lua"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_the_policy_reads_what_the_agent_writes(tmp_path: Path) -> None:
    settings = PluginSettings(own_feature="owned", default="never", requeue=False, notice=300)
    end = NOW + timedelta(hours=2)
    text = borrowed_table(settings, partitions=["main", "gpu"], lease_end=end, now=NOW)
    write_table(tmp_path / "run" / "borrowed", text)
    lua = lua51.LuaRuntime()
    known = lua.execute(POLICY.read_text()).parse((tmp_path / "run" / "borrowed").read_text())
    assert (known.feature, known.own_feature, known.default, known.requeue) == (
        "elastic",
        "owned",
        "never",
        False,
    )
    assert sorted(known.partitions) == ["gpu", "main"]
    assert (known.written, known.lease_end, known.notice) == (NOW.timestamp(), end.timestamp(), 300)


def test_what_is_not_known_is_left_out() -> None:
    text = borrowed_table(PluginSettings(), partitions=[], lease_end=None, now=NOW)
    assert "lease_end" not in text
    assert "own_feature" not in text
    assert "partitions" not in text


def lines_of(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())


def test_jobs_are_requeued_as_agent_conf_says() -> None:
    tables = [
        borrowed_table(PluginSettings(requeue=requeue), partitions=[], lease_end=None, now=NOW)
        for requeue in (True, False)
    ]
    assert [lines_of(table)["requeue"] for table in tables] == ["yes", "no"]
    assert [lines_of(table)["version"] for table in tables] == ["1", "1"]


def test_a_borrowed_machine_is_told_until_when_it_is_ours_and_when_the_agent_is_silent_too_long() -> None:
    settings = PluginSettings(notice=300, orphan_after=7200, lease="/run/esagent/lease")
    assert lines_of(lease_table(settings, lease_end=NOW + timedelta(hours=2), now=NOW)) == {
        "version": "1",
        "written": "1795348800",
        "lease_end": "1795356000",
        "notice": "300",
        "orphan_after": "7200",
    }


def test_a_borrowed_machine_is_not_told_what_is_not_known_or_not_wanted() -> None:
    text = lease_table(PluginSettings(orphan_after=0), lease_end=None, now=NOW)
    assert lines_of(text).keys() == {"version", "written", "notice"}


@pytest.fixture
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_usual_umask")
def test_everybody_may_read_the_table(tmp_path: Path) -> None:
    table = tmp_path / "run" / "esagent" / "borrowed"
    write_table(table, "version 0\n")
    write_table(table, "version 1\n")
    assert table.read_text() == "version 1\n"
    assert [path.stat().st_mode & 0o777 for path in (table.parent, table)] == [0o755, 0o644]
    assert [path.name for path in table.parent.iterdir()] == ["borrowed"]


def test_a_table_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder")
    with pytest.raises(ConfigError, match=r"\[plugin\] table .*/run/borrowed: "):
        write_table(tmp_path / "run" / "borrowed", "version 1\n")
