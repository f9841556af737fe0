"""What the estimate of demand leaves out is told."""

from pathlib import Path

import pytest

from agent.check.finding import Grade
from agent.check.selection import check_selection
from agent.cluster.settings.join import JoinSettings
from agent.slurm.cli.scheduling import parse_config

SAMPLES = Path(__file__).parents[2] / "data" / "slurm"
DYNAMIC = JoinSettings()


@pytest.mark.parametrize("release", ["22.05", "24.11", "26.05"])
def test_a_plain_cluster_is_followed(release: str) -> None:
    config = parse_config((SAMPLES / release / "config.txt").read_text())
    (finding,) = check_selection(config, DYNAMIC)
    assert finding.grade is Grade.FINE


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("SelectType", "select/cray_aries", "SelectType=select/cray_aries"),
        ("SelectTypeParameters", "CR_MEMORY", "SelectTypeParameters=CR_Memory"),
        ("SelectTypeParameters", "CR_CORE,CR_LLN", "SelectTypeParameters=CR_LLN"),
        ("SelectTypeParameters", "CR_CORE,CR_PACK_NODES", "SelectTypeParameters=CR_PACK_NODES"),
        ("TopologyPlugin", "topology/tree", "TopologyPlugin=topology/tree"),
        ("PreemptType", "preempt/partition_prio", "PreemptType=preempt/partition_prio"),
        ("MCSPlugin", "mcs/user", "MCSPlugin=mcs/user"),
    ],
)
def test_what_is_not_followed_is_named(key: str, value: str, what: str) -> None:
    (finding,) = check_selection({"SelectType": "select/cons_tres"} | {key: value}, DYNAMIC)
    assert finding.grade is Grade.WARNING
    assert finding.seen.startswith(f"{what}: ")


def test_memory_alone_of_whole_nodes_is_followed() -> None:
    config = {"SelectType": "select/linear", "SelectTypeParameters": "CR_MEMORY"}
    (finding,) = check_selection(config, DYNAMIC)
    assert finding.grade is Grade.FINE


def test_where_slurm_itself_decides_nothing_is_estimated() -> None:
    join = JoinSettings(mode="cloud", node_name="client_id", power_nodes="a,b")
    assert list(check_selection({"SelectType": "select/cray_aries"}, join)) == []
