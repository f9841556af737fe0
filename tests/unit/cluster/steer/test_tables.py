"""What the agent writes is what the submit policy reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from lupa import lua51

from agent.cluster.settings.plugin import PluginSettings
from agent.cluster.steer.tables import borrowed_table, write_table

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


def test_everybody_may_read_the_table(tmp_path: Path) -> None:
    write_table(tmp_path / "borrowed", "version 1\n")
    assert (tmp_path / "borrowed").stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["borrowed"]
