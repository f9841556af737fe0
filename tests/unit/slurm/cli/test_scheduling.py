"""How Slurm chooses nodes, from what scontrol of three releases printed, and from hostile names."""

from datetime import timedelta
from pathlib import Path

import pytest

from agent.core.errors import SlurmError
from agent.slurm.cli.scheduling import parse_config, parse_partitions, parse_scheduling
from agent.slurm.scheduling import PartitionRules, Scheduling, Unit

SAMPLES = Path(__file__).parents[3] / "data" / "slurm"
RELEASES = ("22.05", "24.11", "26.05")
RULES = (
    PartitionRules("pdown", is_up=False),
    PartitionRules("pinact", is_up=False),
    PartitionRules("pdrain"),
    PartitionRules("pall"),
    PartitionRules("pmax1", min_nodes=1, max_nodes=1),
    PartitionRules("pmin2", min_nodes=2),
    PartitionRules("pex", exclusive=True),
    PartitionRules("pforce", shared_by=3, is_forced=True),
    PartitionRules("pyes", shared_by=2),
    PartitionRules("pcpn", max_cpus_per_node=2),
    PartitionRules("pmpn", max_memory_per_node=1000),
    PartitionRules("pmpc", max_memory_per_cpu=1000),
    PartitionRules("psel", unit=Unit.SOCKET, memory=True, cpus_per_gpu=2),
    PartitionRules("ptime", max_time=timedelta(minutes=10)),
    PartitionRules("pdef"),
    PartitionRules("pnone"),
)


def read(release: str) -> tuple[str, str]:
    folder = SAMPLES / release
    return (folder / "config.txt").read_text(), (folder / "partitions.txt").read_text()


def line(name: str = "pall", **changes: str) -> str:
    """Return the line of a partition of 22.05, with words in it changed."""
    found = next(each for each in read("22.05")[1].splitlines() if each.startswith(f"PartitionName={name} "))
    for key, value in changes.items():
        before, _, after = found.partition(f" {key}=")
        found = f"{before} {key}={value} {after.partition(' ')[2]}"
    return f"{found}\n"


def config(**settings: str) -> str:
    return "".join(f"{key:<24}= {value}\n" for key, value in settings.items())


@pytest.mark.parametrize("release", RELEASES)
def test_each_release_tells_the_same_cluster(release: str) -> None:
    assert parse_scheduling(*read(release)) == Scheduling(
        unit=Unit.CORE,
        memory=True,
        one_task_per_core=True,
        partitions={rules.name: rules for rules in RULES},
        cpus_per_gpu=3,
        memory_per_gpu=1000,
        release=tuple(map(int, release.split("."))),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("select", "parameters", "unit", "memory"),
    [
        ("cons_tres", "CR_CPU", Unit.CPU, False),
        ("cons_tres", "CR_CPU_MEMORY", Unit.CPU, True),
        ("cons_tres", "CR_CORE,CR_PACK_NODES", Unit.CORE, False),
        ("cons_tres", "CR_CORE_DEFAULT_DIST_BLOCK,CR_SOCKET_MEMORY", Unit.SOCKET, True),
        ("cons_res", "CR_Core_Memory", Unit.CORE, True),
        ("linear", "NONE", Unit.NODE, False),
        ("linear", "CR_MEMORY", Unit.NODE, True),
    ],
)
def test_select_type_parameters_tell_what_is_given_out(
    select: str, parameters: str, unit: Unit, memory: bool
) -> None:
    told = parse_scheduling(config(SelectType=f"select/{select}", SelectTypeParameters=parameters), line())
    assert (told.unit, told.memory) == (unit, memory)


def test_select_linear_without_parameters_gives_whole_nodes() -> None:
    told = parse_scheduling(config(SelectType="select/linear"), "")
    assert (told.unit, told.memory, told.partitions) == (Unit.NODE, False, {})


def test_a_partition_chooses_for_itself_only_where_cores_or_sockets_are_given_out() -> None:
    text = line(SelectTypeParameters="CR_SOCKET")
    (chosen,) = parse_partitions(text, {"SelectTypeParameters": "CR_CORE_MEMORY"})
    (ignored,) = parse_partitions(text, {"SelectTypeParameters": "CR_CPU_MEMORY"})
    assert (chosen.unit, chosen.memory) == (Unit.SOCKET, False)
    assert (ignored.unit, ignored.memory) == (None, None)


def test_where_a_partition_limits_no_memory_the_cluster_does() -> None:
    told = {"MaxMemPerCPU": "700"}
    (general,) = parse_partitions(line(), told)
    (own,) = parse_partitions(line("pmpn"), told)
    assert (general.max_memory_per_node, general.max_memory_per_cpu) == (None, 700)
    assert (own.max_memory_per_node, own.max_memory_per_cpu) == (1000, None)


@pytest.mark.parametrize(
    ("stated", "limit"),
    [
        ("UNLIMITED", None),
        ("00:10:00", timedelta(minutes=10)),
        ("2-01:00:00", timedelta(days=2, hours=1)),
    ],
)
def test_the_longest_time_of_a_partition(stated: str, limit: timedelta | None) -> None:
    (rules,) = parse_partitions(line(MaxTime=stated), {})
    assert rules.max_time == limit


@pytest.mark.parametrize("release", RELEASES)
def test_names_of_others_fake_no_partition_and_no_limit(release: str) -> None:
    text = read(release)[1]
    names = "ALL State=DOWN MaxNodes=1 OverSubscribe=EXCLUSIVE PartitionName=x"
    hostile = text.replace("AllowAccounts=ALL", f"AllowAccounts={names}")
    assert parse_partitions(hostile, {}) == parse_partitions(text, {})


def test_a_name_that_is_a_whole_part_of_a_record_is_refused() -> None:
    part = " Hidden=NO MaxNodes=1 MaxTime=UNLIMITED MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED "
    with pytest.raises(SlurmError, match="partition 'PartitionName=pall"):
        parse_partitions(line().replace(" AllowQos=", f"{part}AllowQos="), {})


@pytest.mark.parametrize("text", ["x\n", "PartitionName=a\n", line()[:-1], line() * 2, line(MaxTime="soon")])
def test_what_is_no_list_of_partitions_is_refused(text: str) -> None:
    with pytest.raises(SlurmError):
        parse_partitions(text, {})


def test_a_cluster_without_partitions_has_none() -> None:
    assert parse_partitions("No partitions in the system\n", {}) == ()


def test_a_configuration_that_does_not_tell_select_type_is_refused() -> None:
    with pytest.raises(SlurmError, match="expected SelectType"):
        parse_scheduling("slurm_load_ctl_conf error\n", line())


def test_settings_that_are_numbered_are_joined() -> None:
    assert parse_config("A[0]  = x\nA[1]  = y\nB  = (null)\n") == {"A": "x,y", "B": "(null)"}
