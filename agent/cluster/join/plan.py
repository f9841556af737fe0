"""A ready machine -> a Slurm node that runs jobs: what to do now, purely decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.cluster.drain.held import held_nodes
from agent.cluster.drain.wanted import drains_of
from agent.cluster.moment import JoinRecord, Moment
from agent.cluster.reasons import is_ours
from agent.cluster.settings.join import CONTROL, JoinSettings
from agent.core.model import SliverNode
from agent.core.settings import format_duration
from agent.slurm.model import Node

_REBOOTED = ": reboot complete"
"""So ends the Reason= of a node that shall be down after its reboot (``node_mgr.c`` of slurmctld)."""


@dataclass(frozen=True)
class JoinStep:
    """One machine, and what was decided for it."""

    node: SliverNode
    name: str
    """Its node name."""
    reason: str
    anew: bool = False
    """Slurm has the node at work, and it is that of an earlier machine."""


@dataclass(frozen=True)
class JoinPlan:
    """What to do about the machines that are ready."""

    start: tuple[JoinStep, ...] = ()
    """Run the join commands there now."""
    probe: tuple[JoinStep, ...] = ()
    """Slurm has them at work: run the probe there now."""
    joined: tuple[JoinStep, ...] = ()
    """They are Slurm nodes at work."""
    failed: tuple[JoinStep, ...] = ()
    """Give them up."""
    watch: tuple[JoinStep, ...] = ()
    """Slurm has them, and not at work at this moment: remember when that was first seen."""
    readdress: tuple[tuple[JoinStep, str], ...] = ()
    """Slurm has them at work under another address than this one, in the LAN that is set."""


def plan_joins(moment: Moment) -> JoinPlan:
    """Decide for each machine that is ready at its CM whether it has joined, has to be joined, or has failed.

    Those that somebody wants empty are left alone. A machine is joined when Slurm says that its slurmd is at
    work, also when somebody drained it since. One that holds jobs but does not answer is left alone. Where
    there is a probe, it has to have passed, also where Slurm was quick to start jobs there; but not on a
    machine that runs jobs since an earlier run of the agent. Where Slurm has it under another address than
    that in the LAN of ``[join] address``, Slurm is told. One that waits for its fence has not joined yet.

    One whose machine somebody has rebooted through Slurm is waited for, as long as Slurm does; one that shall
    be down after that (``scontrol reboot nextstate=DOWN``) waits for a person.

    A node that Slurm has is not joined anew at the first sight of its slurmd being away: one that was just
    resumed, or that missed a ping, reads so for a moment (``scontrol update State=UNDRAIN``).
    """
    snapshot, now = moment.snapshot, moment.steady
    if snapshot is None:
        return JoinPlan()
    leaving, waiting = drains_of(moment).keys(), held_nodes(moment)
    start, probe, joined, failed, watch, readdress = [], [], [], [], [], []
    for name, node in moment.machines.items():
        if node.key not in moment.slice.ready or name in leaving:
            continue
        seen, settings = snapshot.nodes.get(name), moment.join_of(node)
        record = moment.joins.get(node.key)
        if seen is not None and (seen.rebooting or _waits_after_reboot(seen)) and _began(node, moment):
            # What is done before it is back is lost, and its time to join begins then.
            if seen.rebooting and not (record is not None and record.running):
                watch.append(JoinStep(node, name, f"Slurm says {_words(seen)}"))
        elif seen is not None and seen.at_work and moment.is_of_another(name):
            why = f"ready, and Slurm has the node at {seen.address}, where an earlier machine was"
            if record is not None and (fault := _fault(record, settings, now)):
                failed.append(JoinStep(node, name, f"{fault}{_last_error(record)}"))
            elif snapshot.holds(name) or (record is not None and record.last >= moment.read_at):
                continue
            elif record is None or _is_due(record, settings, now):
                start.append(JoinStep(node, name, why, anew=True))
        elif seen is not None and seen.at_work and name in waiting:
            continue
        elif seen is not None and seen.at_work:
            step = JoinStep(node, name, f"Slurm says {_words(seen)}")
            if (place := _place_in_lan(node, settings)) and place != seen.address:
                readdress.append((step, place))
            if not settings.probe or node.key in moment.proven:
                joined.append(step)
            elif record is None and snapshot.holds(name):
                # An earlier run of the agent joined it: no record is older than this process.
                joined.append(step)
            elif record is None or (record.probes == 0 and not record.running):
                probe.append(step)
            elif fault := _fault(record, settings, now):
                failed.append(JoinStep(node, name, f"{fault}: the probe does not pass{_last_error(record)}"))
            elif _is_due(record, settings, now):
                probe.append(step)
        elif snapshot.holds(name) and not _is_awaited(seen, settings):
            continue
        elif record is None and seen is not None and not _rests(seen, settings):
            watch.append(JoinStep(node, name, f"Slurm says {_words(seen)}"))
        elif record is None:
            start.append(JoinStep(node, name, f"ready, and Slurm says {_words(seen)}"))
        elif moment.read_at < record.last:
            continue  # Slurm may hang, which is no fault of the machine.
        elif fault := _fault(record, settings, now):
            failed.append(JoinStep(node, name, f"{fault}; Slurm says {_words(seen)}{_last_error(record)}"))
        elif _is_due(record, settings, now):
            why = f"attempt {record.attempts + 1} of {settings.attempts}: Slurm says {_words(seen)}"
            start.append(JoinStep(node, name, f"{why}{_last_error(record)}"))
    return JoinPlan(tuple(start), tuple(probe), tuple(joined), tuple(failed), tuple(watch), tuple(readdress))


def _place_in_lan(node: SliverNode, settings: JoinSettings) -> str:
    """Return the address in the LAN that is set; "" where none is, or the machine has none there.

    A slurmd that registers itself is known by the address that it calls from (``create_dynamic_reg_node`` in
    Slurm's node_mgr.c), and so is that of a cloud node with ``SlurmctldParameters=cloud_reg_addrs``.
    """
    if settings.address == CONTROL:
        return ""
    return next((port.address for port in node.lans if port.lan == settings.address), "")


def _began(node: SliverNode, moment: Moment) -> bool:
    """Tell whether what Slurm says of the node is about this machine, rather than an earlier one."""
    return node.key not in moment.slice.fresh or (node.cm, node.client_id) in moment.began


def _waits_after_reboot(node: Node) -> bool:
    return node.state == "DOWN" and node.reason.endswith(_REBOOTED)


def _is_awaited(node: Node | None, settings: JoinSettings) -> bool:
    """Tell whether the jobs on a node have not started: Slurm powers it up for them."""
    return settings.mode == "cloud" and node is not None and "POWERING_UP" in node.flags


def _rests(node: Node, settings: JoinSettings) -> bool:
    """Tell whether a node is known to have no machine behind it: there is nothing to wait for."""
    asleep = settings.mode == "cloud" and bool(node.flags & {"POWERED_DOWN", "POWERING_UP"})
    return asleep or (node.state == "DOWN" and is_ours(node.reason))


def _fault(record: JoinRecord, settings: JoinSettings, now: datetime) -> str:
    """Say why a machine is given up; "" while there is hope."""
    if now - record.first >= timedelta(seconds=settings.timeout):
        return f"not joined within {format_duration(settings.timeout)}"
    tried = max(record.attempts, record.probes)
    if tried >= settings.attempts and _is_due(record, settings, now):
        return f"not joined after {tried} attempts"
    return ""


def _is_due(record: JoinRecord, settings: JoinSettings, now: datetime) -> bool:
    return not record.running and now - record.last >= timedelta(seconds=settings.retry_interval)


def _words(node: Node | None) -> str:
    return "nothing of it" if node is None else node.words


def _last_error(record: JoinRecord) -> str:
    return f"; last error: {record.error}" if record.error else ""
