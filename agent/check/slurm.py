"""Slurm: whether it can be read and changed, and is set up for machines that come and go."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from agent.check.finding import Finding, fault, fine, look, skipped, warning
from agent.core.errors import SlurmRefusedError
from agent.slurm.borrowed import PluginSettings
from agent.slurm.join import JoinSettings
from agent.slurm.model import SlurmBackend, Snapshot

_SETTING = re.compile(r"^(\S+)\s*= (.*)$", re.MULTILINE)
_NO_SUCH_NODE = "Invalid node name"
NOBODY = "esagent-check-no-such-node"
"""A node name that no site has."""


def parse_config(text: str) -> dict[str, str]:
    """Read ``scontrol show config``: key -> value, as it stands there."""
    return {key: value.strip() for key, value in _SETTING.findall(text)}


def check_slurm(
    backend: SlurmBackend,
    config: Callable[[], str],
    change: Callable[[Sequence[str]], None],
    *,
    join: JoinSettings,
    max_nodes: int,
    way_in: str,
    user: str,
    shortcomings: Iterable[str] = (),
    fence: Callable[[], frozenset[str]] | None = None,
) -> Iterator[Finding]:
    """Look at Slurm through the way in that the agent will use.

    Args:
        backend: that way in.
        config: gives the output of ``scontrol show config``.
        change: changes nodes, harmlessly where there is nothing to change.
        join: how machines join.
        max_nodes: how many machines are held at most.
        way_in: its name, and why it was not another one.
        user: whom Slurm takes us for.
        shortcomings: what this way in cannot do with this cluster, in words.
        fence: names the partitions that give every job a time limit; None where nodes are not fenced.
    """
    mend = "is slurmctld up, and can this user run squeue? see [slurm]"

    def at() -> Iterator[Finding]:
        snapshot = backend.snapshot()
        yield fine(
            "Slurm", f"{len(snapshot.nodes)} nodes and {len(snapshot.jobs)} jobs were read through {way_in}"
        )
        for words in shortcomings:
            yield warning("way in to Slurm", words, "see [slurm] backend")
        settings = parse_config(config())
        yield from check_settings(settings, snapshot, join=join, max_nodes=max_nodes)
        yield check_permission(change, user)
        if fence is not None:
            yield check_fence(snapshot, fence())

    return look("Slurm", at, mend)


def check_permission(change: Callable[[Sequence[str]], None], user: str) -> Finding:
    """Tell whether our user may change nodes, by a change of one that is not there.

    slurmctld looks at who asks before it looks for the node: root, SlurmUser and administrators may.

    Args:
        change: changes nodes through the way in that the agent will use.
        user: whom Slurm takes us for, in words.
    """
    subject = "rights in Slurm"
    try:
        change([NOBODY])
    except SlurmRefusedError as error:
        if _NO_SUCH_NODE not in str(error):
            return fault(
                subject,
                f"{user} may not change nodes: {' '.join(str(error).split())}",
                f"run the agent as root or SlurmUser, or: sacctmgr add user {user} adminlevel=Admin",
            )
    return fine(subject, f"{user} may change nodes")


def check_fence(snapshot: Snapshot, limited: Collection[str]) -> Finding:
    """Tell whether every partition gives its jobs a time limit: one without it never starts before a fence.

    Args:
        snapshot: its nodes tell the partitions.
        limited: names of the partitions that do.
    """
    partitions = {name for node in snapshot.nodes.values() for name in node.partitions}
    if without := sorted(partitions - set(limited)):
        return warning(
            "[drain] fence",
            f"jobs may have no time limit in {', '.join(without)}: no node of theirs is fenced",
            "set MaxTime or DefaultTime of these partitions in slurm.conf, or fence = false",
        )
    return fine("[drain] fence", "every partition gives its jobs a time limit")


def check_settings(
    config: Mapping[str, str], snapshot: Snapshot, *, join: JoinSettings, max_nodes: int
) -> Iterator[Finding]:
    """Look at what slurm.conf has to say for machines that come and go."""
    if any("-Z" in command.split() for command in join.commands):
        yield _room(config, len(snapshot.nodes), max_nodes)
    if join.mode == "cloud":
        yield _predeclared(join)
    select = config.get("SelectType", "")
    if select and not select.endswith(("cons_tres", "cons_res", "linear")):
        yield warning("SelectType", select, "select/cons_tres is what dynamic nodes were tried with")
    width = config.get("TreeWidth", "")
    if width.isdecimal() and int(width) < max_nodes:
        yield warning(
            "TreeWidth",
            f"{width}, and up to {max_nodes} borrowed machines",
            "set TreeWidth=65533: a machine passes messages on only to those that it knows by name",
        )
    if join.power_nodes:
        yield from _power_saving(config)
    if config.get("JobRequeue") == "0":
        yield warning(
            "JobRequeue",
            "0: a job that does not say --requeue is cancelled when its machine is taken",
            "set JobRequeue=1, or have users say --requeue",
        )


def _predeclared(join: JoinSettings) -> Finding:
    if not join.predeclared:
        return warning(
            "predeclared nodes",
            "[join] mode is cloud, and which nodes of slurm.conf wait for machines is not said",
            "set [join] predeclared: Slurm sends jobs to a node whose machine is not there",
        )
    return fine("predeclared nodes", join.predeclared)


def _power_saving(config: Mapping[str, str]) -> Iterator[Finding]:
    """Look at what lets Slurm's power saving decide about machines."""
    if "cloud" not in config.get("PrivateData", "").split(","):
        seen = "without cloud: the agent cannot see which nodes sleep"
        yield fault("PrivateData", seen, "set PrivateData=cloud, for [join] power_nodes")
    for key, name in (("ResumeProgram", "esagent-resume"), ("SuspendProgram", "esagent-suspend")):
        program = config.get(key, "(null)")
        if name not in program:
            yield warning(key, f"{program}: the agent is not woken", f"set {key} to {name}, see its README")


def _room(config: Mapping[str, str], known: int, max_nodes: int) -> Finding:
    """Tell whether slurmctld has room for dynamic nodes (slurm.conf(5), MaxNodeCount)."""
    stated = config.get("MaxNodeCount", "")
    if not stated.isdecimal():
        return skipped("MaxNodeCount", "this release does not tell it; slurmd -Z needs it in slurm.conf")
    wanted = known + max_nodes
    if int(stated) < wanted:
        return fault(
            "MaxNodeCount",
            f"{stated}, with {known} nodes now and up to {max_nodes} borrowed ones",
            f"set MaxNodeCount={wanted} or more in slurm.conf and restart slurmctld",
        )
    return fine("MaxNodeCount", stated)


def check_pieces(
    config: Mapping[str, str], conf_directory: Path, plugin: PluginSettings
) -> Iterator[Finding]:
    """Look at the pieces of contrib/slurm-plugin: each is optional, none may be half there."""
    yield _submit_policy(config, conf_directory, plugin.table)
    yield _poke(config.get("EpilogSlurmctld", "(null)"))
    yield _spank(conf_directory / "plugstack.conf", plugin.lease)
    if plugin.orphan_after:
        yield _orphan(config.get("HealthCheckProgram", "(null)"))


def _submit_policy(config: Mapping[str, str], directory: Path, table: Path | None) -> Finding:
    subject, mend = "submit policy", "run contrib/slurm-plugin/install.sh job-submit"
    script, policy = directory / "job_submit.lua", directory / "esagent_submit.lua"
    asked = "lua" in config.get("JobSubmitPlugins", "").split(",")
    if not policy.exists():
        if _mentions(script, "esagent_submit.lua"):
            return fault(subject, f"{script} wants {policy}, which is missing", mend)
        return skipped(subject, "not installed")
    if not asked:
        return warning(subject, f"{policy} is there and not used", "set JobSubmitPlugins=lua in slurm.conf")
    if not _mentions(script, "esagent_submit.lua"):
        return warning(subject, f"{script} does not load {policy}", mend)
    if table is None:
        return warning(subject, f"{policy} is used, and no table is written for it", "set [plugin] table")
    if not _mentions(script, f'"{table}"'):
        mend = f"run contrib/slurm-plugin/install.sh --table {table} job-submit"
        return warning(subject, f"{script} reads another table than {table}", mend)
    return fine(subject, str(policy))


def _poke(program: str) -> Finding:
    subject = "EpilogSlurmctld"
    if "esagent-poke" not in program:
        return skipped(subject, "esagent-poke is not installed: an empty machine is found by the timer")
    if not os.access(program.split(maxsplit=1)[0], os.X_OK):
        return fault(subject, f"{program} cannot be run", "run contrib/slurm-plugin/install.sh poke")
    return fine(subject, program)


def _orphan(program: str) -> Finding:
    subject = "HealthCheckProgram"
    if "esagent-orphan" not in program:
        mend = "run install.sh orphan on the borrowed machines, and set HealthCheckProgram in slurm.conf"
        return warning(subject, "[plugin] orphan_after is set, and no machine looks at it", mend)
    return fine(subject, program)


def _spank(plugstack: Path, lease: str | None) -> Finding:
    subject = "SPANK plugin"
    if not _mentions(plugstack, "spank_esagent.so"):
        return skipped(subject, "not installed")
    line = next(x for x in plugstack.read_text(errors="replace").splitlines() if "spank_esagent.so" in x)
    path = next(Path(word) for word in line.split() if "spank_esagent.so" in word)
    if path.is_absolute() and not path.exists():
        return fault(subject, f"{plugstack} wants {path}, which is missing", "run install.sh spank")
    if lease is None:
        return warning(subject, f"{path} is used, and no machine is told of its lease", "set [plugin] lease")
    if f"table={lease}" not in line.split():
        mend = f"run contrib/slurm-plugin/install.sh --lease {lease} spank"
        return warning(subject, f"{plugstack} names another file than {lease}", mend)
    return fine(subject, str(path))


def _mentions(path: Path, words: str) -> bool:
    try:
        return words in path.read_text(errors="replace")
    except OSError:
        return False
