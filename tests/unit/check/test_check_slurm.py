"""What `esagent check` makes of slurm.conf and of the pieces that are installed into Slurm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.check.finding import Grade
from agent.check.program import seen_by
from agent.check.slurm import (
    check_fence,
    check_leads,
    check_permission,
    check_pieces,
    check_primary,
    check_settings,
    check_slurm,
)
from agent.check.user import User
from agent.cluster.settings.demand import Offer
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.plugin import PluginSettings
from agent.core.errors import SlurmDownError, SlurmRefusedError
from agent.slurm.cli.scheduling import parse_config
from agent.slurm.model import Node, Snapshot
from agent.slurm.primary import Controller
from tests.unit.check.conftest import Site

CONFIG = """\
Configuration data as of 2026-11-22T16:00:00
EpilogSlurmctld         = (null)
JobRequeue              = 1
JobSubmitPlugins        = (null)
MaxNodeCount            = 20
SelectType              = select/cons_tres
SlurmUser               = slurm(64030)
TreeWidth               = 65533
SLURM_CONF              = /etc/slurm/slurm.conf
"""
DYNAMIC = JoinSettings(commands=("slurmd -Z -N {node_name}",))
SNAPSHOT = Snapshot(
    datetime(2026, 11, 22, 12, tzinfo=UTC), {f"n{i}": Node(f"n{i}", "IDLE") for i in range(10)}, ()
)


def faults(config: str, max_nodes: int = 10) -> dict[str, str]:
    findings = check_settings(parse_config(config), SNAPSHOT, join=DYNAMIC, max_nodes=max_nodes)
    return {f.subject: f.mend for f in findings if f.grade in {Grade.FAULT, Grade.WARNING}}


def test_a_slurm_that_is_set_up_well_has_no_fault() -> None:
    assert faults(CONFIG) == {}


def test_too_little_room_for_dynamic_nodes_is_a_fault_that_says_how_much() -> None:
    assert "MaxNodeCount=21" in faults(CONFIG, max_nodes=11)["MaxNodeCount"]


def test_machines_that_are_no_dynamic_nodes_need_no_room() -> None:
    cloud = JoinSettings(commands=("systemctl start slurmd",))
    assert not list(check_settings({"MaxNodeCount": "1"}, SNAPSHOT, join=cloud, max_nodes=10))


def test_predeclared_nodes_that_nobody_named_are_warned_of() -> None:
    for named, grade in (("", Grade.WARNING), ("pc[1-4]", Grade.FINE)):
        cloud = JoinSettings(mode="cloud", predeclared=named)
        (finding,) = check_settings({}, SNAPSHOT, join=cloud, max_nodes=10)
        assert (finding.subject, finding.grade) == ("predeclared nodes", grade)


def test_a_cluster_that_does_not_requeue_is_warned_of() -> None:
    assert "JobRequeue" in faults(CONFIG.replace("JobRequeue              = 1", "JobRequeue = 0"))


@pytest.mark.parametrize(
    ("kill_wait", "drain", "mends"),
    [
        ("30 sec", DrainSettings(), []),
        ("45 sec", DrainSettings(), ["set kill_lead to more, or KillWait in slurm.conf to less"]),
        ("30 sec", DrainSettings(tick=60), ["set tick to less"]),
        (
            "30 sec",
            DrainSettings(checkpoint_signal="USR1", checkpoint_lead=120),
            ["set checkpoint_lead to more than requeue_lead"],
        ),
    ],
)
def test_leads_that_leave_too_little_time_are_warned_of(
    kill_wait: str, drain: DrainSettings, mends: list[str]
) -> None:
    found = list(check_leads({"KillWait": kill_wait}, drain))
    assert {f.subject for f in found} == {"[drain] leads"}
    assert [f.mend for f in found if f.grade is Grade.WARNING] == mends


@pytest.mark.parametrize(
    ("here", "acts_always", "grade", "words"),
    [
        ("head1", True, Grade.FINE, "always; where an agent runs on each head node, set act = primary"),
        ("head2.example.net", False, Grade.FINE, "primary, of head1, head2"),
        ("login", False, Grade.FAULT, "primary, and login is none of head1, head2: it would never act"),
    ],
)
def test_an_agent_that_would_never_act_is_a_fault(
    here: str, acts_always: bool, grade: Grade, words: str
) -> None:
    found = check_primary(
        [Controller("head1", up=False), Controller("head2", up=True)], here, acts_always=acts_always
    )
    assert (found.grade, found.seen) == (grade, words)


def test_power_saving_that_does_not_wake_the_agent_is_warned_of() -> None:
    join = JoinSettings(mode="cloud", node_name="client_id", power_nodes="n[1-3]")

    def seen(config: dict[str, str]) -> dict[str, Grade]:
        return {f.subject: f.grade for f in check_settings(config, SNAPSHOT, join=join, max_nodes=1)}

    assert seen({}) == {
        "[join] power_nodes": Grade.FINE,
        "ResumeProgram": Grade.WARNING,
        "SuspendProgram": Grade.WARNING,
    }
    told = {"ResumeProgram": "/x/esagent-resume", "SuspendProgram": "/x/esagent-suspend"}
    assert seen(told) == {"[join] power_nodes": Grade.FINE}


def test_nodes_that_sleep_and_that_the_agent_cannot_see_are_a_fault() -> None:
    join = JoinSettings(mode="cloud", node_name="client_id", power_nodes="n[8-11]")
    for private, mend in (("", "set PrivateData=cloud"), ("accounts,cloud", "declare them in slurm.conf")):
        found = next(iter(check_settings({"PrivateData": private}, SNAPSHOT, join=join, max_nodes=1)))
        assert (found.grade, found.seen) == (Grade.FAULT, "Slurm lists no n[10-11]")
        assert found.mend.startswith(mend)


SMALL = Offer("small", cpus=1, memory=None, gres="", features=frozenset({"s"}), max_nodes=1)
LARGE = Offer("large", cpus=8, memory=None, gres="", features=frozenset({"l"}), max_nodes=1)


def test_a_node_of_power_saving_that_slurm_lacks_or_no_machine_can_be_is_a_fault() -> None:
    told = {"PrivateData": "cloud", "ResumeProgram": "esagent-resume", "SuspendProgram": "esagent-suspend"}
    nodes = {n: Node(n, "IDLE", cpus=4, features=frozenset(n[0])) for n in ("s1", "s2", "l1")}
    snapshot = Snapshot(SNAPSHOT.taken, nodes, ())

    def seen(names: str, offers: tuple[Offer, ...] = (SMALL, LARGE)) -> tuple[Grade, str]:
        join = JoinSettings(mode="cloud", node_name="client_id", power_nodes=names)
        (finding,) = check_settings(told, snapshot, join=join, max_nodes=1, offers=offers)
        return finding.grade, finding.seen

    assert seen("l[1-3],s1") == (Grade.FAULT, "Slurm lists no l[2-3]")
    assert seen("l1,s[1-2]") == (Grade.FAULT, "no type of machine in [demand] is like s[1-2]")
    assert seen("l1") == (Grade.FINE, "l1")
    assert seen("l1,s[1-2]", (SMALL,)) == (Grade.FINE, "l1,s[1-2]")


def refusing(words: str) -> Callable[[Sequence[str]], None]:
    def change(nodes: Sequence[str]) -> None:
        raise SlurmRefusedError(f"scontrol update NodeName={nodes[0]}: {words} (status 1)")

    return change


def test_a_user_whose_change_is_refused_only_for_lack_of_the_node_may_change_nodes() -> None:
    found = check_permission(refusing("Invalid node name specified"), "esagent")
    assert (found.grade, found.seen) == (Grade.FINE, "esagent may change nodes")


def test_a_user_whom_slurm_turns_away_is_a_fault_that_says_how_to_make_him_one() -> None:
    found = check_permission(refusing("Invalid user id"), "esagent")
    assert found.grade is Grade.FAULT
    assert "Invalid user id" in found.seen
    assert "sacctmgr add user esagent adminlevel=Admin" in found.mend


def test_partitions_in_which_jobs_have_no_time_limit_are_warned_of_where_nodes_are_fenced() -> None:
    nodes = {"n1": Node("n1", "IDLE", partitions=("main", "long")), "n2": Node("n2", "IDLE")}
    snapshot = Snapshot(SNAPSHOT.taken, nodes, ())
    found = check_fence(snapshot, {"main"})
    assert (found.grade, found.seen) == (
        Grade.WARNING,
        "jobs may have no time limit in long: no node of theirs is fenced",
    )
    assert check_fence(snapshot, {"main", "long", "other"}).grade is Grade.FINE


def test_a_slurm_that_does_not_answer_is_a_fault_in_its_own_words() -> None:
    class Silent:
        def snapshot(self) -> Snapshot:
            raise SlurmDownError("squeue: Unable to contact slurm controller")

    silent: Any = Silent()
    change, drain = refusing("never asked"), DrainSettings()
    findings = list(
        check_slurm(
            silent, lambda: "", change, join=DYNAMIC, max_nodes=1, drain=drain, way_in="cli", user="ada"
        )
    )
    assert [(f.grade, f.seen) for f in findings] == [
        (Grade.FAULT, "squeue: Unable to contact slurm controller")
    ]


TOLD = PluginSettings(table=Path("/run/esagent/borrowed"), lease="/x")


def pieces(
    directory: Path,
    config: str = CONFIG,
    plugin: PluginSettings = TOLD,
    socket: Path = Path("/run/esagent/admin.sock"),
) -> dict[str, Grade]:
    return {f.subject: f.grade for f in check_pieces(parse_config(config), directory, plugin, socket)}


def test_pieces_that_are_not_installed_are_no_fault(tmp_path: Path) -> None:
    assert set(pieces(tmp_path).values()) == {Grade.SKIPPED}


def test_an_epilog_is_found_in_each_way_that_releases_tell_it(tmp_path: Path) -> None:
    program = tmp_path / "esagent-poke"
    program.touch(mode=0o755)
    for config in (
        f"EpilogSlurmctld         = {program}\n",
        f"EpilogSlurmctld[0]      = /site/epilog\nEpilogSlurmctld[1]      = {program}\n",
    ):
        assert pieces(tmp_path, config)["EpilogSlurmctld"] is Grade.FINE
        assert pieces(tmp_path, config.replace(str(tmp_path), "/gone"))["EpilogSlurmctld"] is Grade.FAULT


def test_a_submit_policy_that_slurm_was_not_told_of_is_found(tmp_path: Path) -> None:
    (tmp_path / "esagent_submit.lua").touch()
    (tmp_path / "job_submit.lua").write_text('load("esagent_submit.lua")')
    assert pieces(tmp_path)["submit policy"] is Grade.WARNING
    told = CONFIG.replace("JobSubmitPlugins        = (null)", "JobSubmitPlugins = lua")
    assert pieces(tmp_path, told)["submit policy"] is Grade.WARNING
    with (tmp_path / "job_submit.lua").open("a") as script:
        script.write('table_path = "/run/esagent/borrowed"')
    assert pieces(tmp_path, told)["submit policy"] is Grade.FINE
    assert pieces(tmp_path, told, PluginSettings())["submit policy"] is Grade.WARNING
    (tmp_path / "job_submit.lua").write_text("-- the site wrote its own over it")
    assert pieces(tmp_path, told)["submit policy"] is Grade.WARNING


def test_a_script_that_wants_a_missing_policy_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "job_submit.lua").write_text('load("esagent_submit.lua")')
    assert pieces(tmp_path)["submit policy"] is Grade.FAULT


def test_a_poke_that_cannot_be_run_is_a_fault(tmp_path: Path) -> None:
    poked = CONFIG.replace("EpilogSlurmctld         = (null)", f"EpilogSlurmctld = {tmp_path}/esagent-poke")
    assert pieces(tmp_path, poked)["EpilogSlurmctld"] is Grade.FAULT
    (tmp_path / "esagent-poke").touch(mode=0o755)
    assert pieces(tmp_path, poked)["EpilogSlurmctld"] is Grade.FINE


@pytest.mark.parametrize(
    ("text", "socket", "grade"),
    [
        ("\x7fELF\xff", "/run/esagent/admin.sock", Grade.FINE),
        ("\x7fELF\xff", "/run/other.sock", Grade.WARNING),
        ("#!/bin/sh\nESAGENT_SOCKET=/run/other.sock exec /x/esagent-poke", "/run/other.sock", Grade.FINE),
        (
            "#!/bin/sh\nESAGENT_SOCKET=/run/other.sock exec /x/esagent-poke",
            "/run/esagent/admin.sock",
            Grade.WARNING,
        ),
        (
            "#!/bin/sh\nESAGENT_SOCKET='/run/other.sock.old' exec /x/esagent-poke",
            "/run/other.sock",
            Grade.WARNING,
        ),
        ("#!/bin/sh\n. /etc/site\nexec /x/esagent-poke", "/run/other.sock", Grade.FINE),
        ("#!/bin/sh\nESAGENT_SOCKET=$SITE/a.sock exec /x/esagent-poke", "/run/other.sock", Grade.FINE),
    ],
)
def test_a_poke_that_speaks_to_another_socket_than_the_daemons_is_found(
    tmp_path: Path, text: str, socket: str, grade: Grade
) -> None:
    program = tmp_path / "esagent-poke"
    program.write_bytes(text.encode("latin-1"))
    program.chmod(0o755)
    config = f"EpilogSlurmctld = {program}\n"
    assert pieces(tmp_path, config, socket=Path(socket))["EpilogSlurmctld"] is grade


def test_a_plugin_that_is_named_and_missing_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "plugstack.conf").write_text(f"optional {tmp_path}/spank_esagent.so table=/x\n")
    assert pieces(tmp_path)["SPANK plugin"] is Grade.FAULT
    (tmp_path / "spank_esagent.so").touch()
    assert pieces(tmp_path)["SPANK plugin"] is Grade.FINE
    assert pieces(tmp_path, plugin=PluginSettings())["SPANK plugin"] is Grade.WARNING
    assert pieces(tmp_path, plugin=PluginSettings(lease="/y"))["SPANK plugin"] is Grade.WARNING


def test_a_dead_man_switch_that_no_machine_has_is_found(tmp_path: Path) -> None:
    switch = PluginSettings(lease="/x", orphan_after=600)
    assert pieces(tmp_path, plugin=switch)["HealthCheckProgram"] is Grade.WARNING
    config = f"{CONFIG}HealthCheckProgram      = /usr/local/libexec/esagent/esagent-orphan\n"
    assert pieces(tmp_path, config, switch)["HealthCheckProgram"] is Grade.FINE


def test_pieces_that_the_daemons_user_may_not_see_are_no_fault_for_slurmctld_sees_them(
    site: Site, nobody: User
) -> None:
    hidden = site.root / "slurm"
    hidden.mkdir(0o700)
    for name in ("job_submit.lua", "esagent_submit.lua", "plugstack.conf"):
        (hidden / name).touch()
    (hidden / "esagent-poke").touch(mode=0o755)
    config = f"EpilogSlurmctld = {hidden}/esagent-poke\n"
    assert seen_by(nobody, lambda: [*set(pieces(hidden, config).values())]) == [Grade.SKIPPED]
    assert pieces(hidden, config)["EpilogSlurmctld"] is Grade.FINE
