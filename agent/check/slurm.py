"""Slurm: whether it can be read and changed, and is set up for machines that come and go."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from agent.check.backfill import check_backfill
from agent.check.barrier import barrier, mode_of
from agent.check.fences import check_fences
from agent.check.finding import Finding, fault, fine, look, skipped, warning
from agent.check.selection import check_selection
from agent.cluster.grow.by_name import offers_for
from agent.cluster.settings.demand import Offer
from agent.cluster.settings.drain import DrainSettings
from agent.cluster.settings.join import JoinSettings
from agent.cluster.settings.plugin import PluginSettings
from agent.core.errors import SlurmRefusedError
from agent.core.settings import format_duration
from agent.slurm.cli.scheduling import parse_config
from agent.slurm.model import Node, SlurmBackend, Snapshot
from agent.slurm.names import fold
from agent.slurm.primary import Controller, is_same_host

_NO_SUCH_NODE = "Invalid node name"
_NAMED_SOCKET = re.compile(rb"""ESAGENT_SOCKET=["']?(/[^\s"'$;]+)""")
BUILT_IN_SOCKET = "/run/esagent/admin.sock"
"""Where esagent-poke finds the daemon, unless it is told (esagent_poke.c)."""
NOBODY = "esagent-check-no-such-node"
"""A node name that no site has."""


def check_slurm(
    backend: SlurmBackend,
    config: Callable[[], str],
    change: Callable[[Sequence[str]], None],
    *,
    join: JoinSettings,
    max_nodes: int,
    offers: Sequence[Offer] = (),
    way_in: str,
    user: str,
    shortcomings: Iterable[str] = (),
    drain: DrainSettings,
    fence: Callable[[], frozenset[str]] | None = None,
) -> Iterator[Finding]:
    """Look at Slurm through the way in that the agent will use.

    Args:
        backend: that way in.
        config: gives the output of ``scontrol show config``.
        change: changes nodes, harmlessly where there is nothing to change.
        join: how machines join.
        max_nodes: how many machines there may be at once.
        offers: what can be borrowed, preferred first.
        way_in: its name, and why it was not another one.
        user: whom Slurm takes us for.
        shortcomings: what this way in cannot do with this cluster, in words.
        drain: how machines are emptied.
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
        yield from check_settings(settings, snapshot, join=join, max_nodes=max_nodes, offers=offers)
        yield from check_selection(settings, join)
        yield check_permission(change, user)
        yield from check_leads(settings, drain)
        if fence is not None:
            yield check_fence(snapshot, fence())
        yield from check_fences(join, backend.reservations(), on=fence is not None)

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


def check_leads(config: Mapping[str, str], drain: DrainSettings) -> Iterator[Finding]:
    """Tell whether the leads leave Slurm and a job the time that they take (slurm.conf(5), KillWait)."""
    subject, faults = "[drain] leads", 0
    wait = re.match(r"\d+", config.get("KillWait", ""))
    if wait and float(wait[0]) >= drain.kill_lead:
        faults += 1
        yield warning(
            subject,
            f"a job that is ended may take KillWait, {wait[0]} s, and has {format_duration(drain.kill_lead)}",
            "set kill_lead to more, or KillWait in slurm.conf to less",
        )
    if drain.tick >= drain.kill_lead:
        faults += 1
        yield warning(
            subject,
            f"between two looks {format_duration(drain.tick)} pass, which is kill_lead or more",
            "set tick to less",
        )
    if drain.signals and drain.saving_time < drain.tick:
        faults += 1
        yield warning(
            subject,
            "a job that gets its checkpoint signal is requeued at once",
            "set checkpoint_lead to more than requeue_lead",
        )
    if not faults:
        yield fine(subject, "they leave jobs the time to end")


def check_primary(controllers: Sequence[Controller], here: str, *, acts_always: bool) -> Finding:
    """Tell whether [slurm] act fits the number of head nodes.

    Args:
        controllers: what ``scontrol ping`` says.
        here: this host's name.
        acts_always: [slurm] act is "always".
    """
    subject, hosts = "[slurm] act", ", ".join(controller.host for controller in controllers)
    if acts_always:
        several = "; where an agent runs on each head node, set act = primary"
        return fine(subject, f"always{several if len(controllers) > 1 else ''}")
    if not any(is_same_host(controller.host, here) for controller in controllers):
        return fault(
            subject,
            f"primary, and {here} is none of {hosts or 'the controllers'}: it would never act",
            "run the agent on the hosts of SlurmctldHost in slurm.conf, or set act = always",
        )
    return fine(subject, f"primary, of {hosts}")


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
    config: Mapping[str, str],
    snapshot: Snapshot,
    *,
    join: JoinSettings,
    max_nodes: int,
    offers: Sequence[Offer] = (),
) -> Iterator[Finding]:
    """Look at what slurm.conf has to say for machines that come and go."""
    if any("-Z" in command.split() for command in join.commands):
        yield _room(config, len(snapshot.nodes), max_nodes)
        yield from check_backfill(config)
    if join.mode == "cloud" and (join.predeclared or not join.power_nodes):
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
        yield from _power_saving(config, snapshot, join, offers)
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


def _power_saving(
    config: Mapping[str, str], snapshot: Snapshot, join: JoinSettings, offers: Sequence[Offer]
) -> Iterator[Finding]:
    """Look at what lets Slurm's power saving decide about machines."""
    private = config.get("PrivateData", "").split(",")
    yield _power_nodes(snapshot.nodes, join, offers, asleep_are_seen="cloud" in private)
    for key, name in (("ResumeProgram", "esagent-resume"), ("SuspendProgram", "esagent-suspend")):
        program = config.get(key, "(null)")
        if name not in program:
            yield warning(key, f"{program}: the agent is not woken", f"set {key} to {name}, see its README")


def _power_nodes(
    nodes: Mapping[str, Node], join: JoinSettings, offers: Sequence[Offer], *, asleep_are_seen: bool
) -> Finding:
    """Tell whether Slurm lists each node that its power saving may ask for, and a machine can be like it.

    Releases before 24.11 list nodes that sleep only with PrivateData=cloud; 26.05 has no such setting.
    """
    subject = "[join] power_nodes"
    if missing := join.power_names - nodes.keys():
        seen = f"Slurm lists no {_listed(missing)}"
        if asleep_are_seen:
            return fault(subject, seen, "declare them in slurm.conf with State=CLOUD, or name others")
        return fault(subject, seen, "set PrivateData=cloud, and declare them with State=CLOUD, in slurm.conf")
    odd = {name for name in join.power_names if offers and not offers_for(nodes[name], offers)}
    if odd:
        mend = "give it the features of a type in slurm.conf, and no more CPUs, memory and Gres than that has"
        return fault(subject, f"no type of machine in [demand] is like {_listed(odd)}", mend)
    return fine(subject, join.power_nodes)


def _listed(names: Iterable[str]) -> str:
    return ",".join(hostlist for _, hostlist in fold(names))


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
    config: Mapping[str, str], conf_directory: Path, plugin: PluginSettings, socket: Path
) -> Iterator[Finding]:
    """Look at the pieces of contrib/slurm-plugin: each is optional, none may be half there.

    Args:
        config: what slurm.conf has in force.
        conf_directory: where slurm.conf is.
        plugin: [plugin].
        socket: [admin] socket, which the programs of slurmctld are to speak to.
    """
    yield _submit_policy(config, conf_directory, plugin.table)
    yield _poke(config.get("EpilogSlurmctld", "(null)"), socket)
    yield _spank(conf_directory / "plugstack.conf", plugin.lease)
    if plugin.orphan_after:
        yield _orphan(config.get("HealthCheckProgram", "(null)"))


def _submit_policy(config: Mapping[str, str], directory: Path, table: Path | None) -> Finding:
    subject, mend = "submit policy", "run contrib/slurm-plugin/install.sh job-submit"
    script, policy = directory / "job_submit.lua", directory / "esagent_submit.lua"
    if part := barrier(policy) or barrier(script):
        return _unseen(subject, part)
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


def _poke(programs: str, socket: Path) -> Finding:
    subject = "EpilogSlurmctld"
    program = next((each for each in programs.split(",") if "esagent-poke" in each), "")
    if not program:
        return skipped(subject, "esagent-poke is not installed: an empty machine is found by the timer")
    path = Path(program.split(maxsplit=1)[0])
    part = barrier(path, os.X_OK)
    if part is not None and (part != path or path.stat().st_mode & 0o111):
        return _unseen(subject, part)
    if not os.access(path, os.X_OK):
        return fault(subject, f"{program} cannot be run", "run contrib/slurm-plugin/install.sh poke")
    spoken_to = _spoken_to(path)
    if spoken_to not in {"", str(socket)}:
        return warning(
            subject,
            f"{program} speaks to {spoken_to}, and [admin] socket is {socket}",
            "let a script set ESAGENT_SOCKET and call it: see contrib/slurm-plugin/README.md",
        )
    return fine(subject, program)


def _spoken_to(program: Path) -> str:
    """Return the socket that a poke speaks to; "" where it cannot be told.

    slurmctld hands its own environment on to triggers, and not to EpilogSlurmctld: another socket than the
    built-in one is named by a script around the program.
    """
    try:
        text = program.read_bytes()
    except OSError:
        return ""
    if not text.startswith(b"#!"):
        return BUILT_IN_SOCKET
    named = _NAMED_SOCKET.search(text)
    return os.fsdecode(named[1]) if named else ""


def _orphan(program: str) -> Finding:
    subject = "HealthCheckProgram"
    if "esagent-orphan" not in program:
        mend = "run install.sh orphan on the borrowed machines, and set HealthCheckProgram in slurm.conf"
        return warning(subject, "[plugin] orphan_after is set, and no machine looks at it", mend)
    return fine(subject, program)


def _spank(plugstack: Path, lease: str | None) -> Finding:
    subject = "SPANK plugin"
    if part := barrier(plugstack):
        return _unseen(subject, part)
    if not _mentions(plugstack, "spank_esagent.so"):
        return skipped(subject, "not installed")
    line = next(x for x in plugstack.read_text(errors="replace").splitlines() if "spank_esagent.so" in x)
    path = next(Path(word) for word in line.split() if "spank_esagent.so" in word)
    if path.is_absolute() and (part := barrier(path)):
        return _unseen(subject, part)
    if path.is_absolute() and not path.exists():
        return fault(subject, f"{plugstack} wants {path}, which is missing", "run install.sh spank")
    if lease is None:
        return warning(subject, f"{path} is used, and no machine is told of its lease", "set [plugin] lease")
    if f"table={lease}" not in line.split():
        mend = f"run contrib/slurm-plugin/install.sh --lease {lease} spank"
        return warning(subject, f"{plugstack} names another file than {lease}", mend)
    return fine(subject, str(path))


def _unseen(subject: str, part: Path) -> Finding:
    """Tell that a piece is hidden from the daemon's user: it is slurmctld that has to see it."""
    return skipped(subject, f"the daemon's user may not look into {part} ({mode_of(part)})")


def _mentions(path: Path, words: str) -> bool:
    try:
        return words in path.read_text(errors="replace")
    except OSError:
        return False
