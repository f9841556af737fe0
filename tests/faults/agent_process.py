"""An agent in a process of its own, to be killed: the framework's manager against real servers, no Slurm.

Started as a program, it reads one order (JSON) a line, runs an agent for it in a forked child, and tells the
child's pid and then its end, a line each: a fork costs milliseconds where a start of Python costs a second.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog

from agent.cloudlab.callback import CallbackServer, CallbackSettings
from agent.cloudlab.connect import connect
from agent.cloudlab.server import ProtoGeniServer
from agent.cloudlab.settings import CloudlabSettings, CmSettings
from agent.cloudlab.slices import Slices
from agent.core.config import CycleSettings, ManagerConfig
from agent.core.events import Event
from agent.core.manager import SimpleElasticSliceManager
from agent.core.model import Holding, Intent
from agent.core.ports import SystemClock
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.core.said import Revocation
from agent.core.settings import LeaseSettings
from agent.ledger.ledger import Ledger
from testbed.bedfile import BedFile, read_bed_file

PAUSE = 0.01
FIRST_CM_MOST = 2
"""Machines at the first CM; what is wanted beyond that is asked of the second one."""
CYCLE = CycleSettings(
    boot_timeout=6,
    settled_status=0.5,
    lost_call_patience=1,
    type_backoff=0.2,
    type_backoff_limit=0.5,
    growth_probe_after=0.2,
    growth_probe_limit=0.5,
    delete_commands_timeout=5,
    withdrawn_grace=0.5,
)
ORDER = ("ensure_slice", "ensure_sliver", "update_sliver_status", "renew", "add_nodes", "delete_nodes")
INTERVALS = dict.fromkeys(ORDER, 0.02)


class Wanting(SimpleElasticSliceManager):
    """Wants as many machines as it is told, as a cluster's queue would."""

    wanted = 0

    def _missing(self, cm: str) -> int:
        """Count what a CM still has to give; each has its own part, whoever is asked first."""
        part = min(self.wanted, FIRST_CM_MOST) if len(self.cmlist) > 1 else self.wanted
        if cm != self.cmlist[0]:
            part = self.wanted - part
        there = {n.client_id for n in self.held(cm)} | {i.client_id for i in self.requested(cm)}
        return max(min(self.wanted - self.in_use(), part - len(there)), 0)

    def should_create_sliver(self, cm: str) -> bool:
        return self._missing(cm) > 0

    def should_add_nodes(self, count: int = 0, cm: str | None = None) -> int | None:
        return self._missing(cm or self.cmlist[-1]) or None

    def should_delete_nodes(self, cm: str | None = None) -> list[str]:
        """Take from the CM that has most, so that its sliver stays; in the end take all."""
        if self.wanted and cm != max(self.cmlist, key=lambda each: len(self.held(each))):
            return []
        surplus = len(self.held()) - self.wanted
        return [node.client_id for node in self.inventory.with_fate("ready", cm)][: max(surplus, 0)]


class Cleaning(SimpleElasticSliceHelper):
    """Cleans a revoked machine up by writing its name into a file."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log

    def get_delete_commands(self, nodelist: Sequence[Any]) -> list[str]:
        names = " ".join(item["node_id"] for item in nodelist)
        return ["sleep 0.1", f"echo {names} >> {self._log}"]


class Death:
    """Where this very process is to die: at the n-th call of one method, or at each step of a stage, once.

    Args:
        order: what the process was started for (see ``World.start``).
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._kill = order["kill"]
        self._log = Path(order["home"]) / "died_at"
        self._each_of = set(order["each_of"])
        self._known = set(self._log.read_text().splitlines()) if self._log.exists() else set()
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.stage = ""

    def count(self, call: str) -> int:
        """Return how often this run made a call, this time included."""
        with self._lock:
            self.counts[call] += 1
            return self.counts[call]

    def reached(self, call: str, args: Sequence[Any], when: str, nth: int) -> None:
        """Die here, if it is the place."""
        if self._kill and (call, when, nth) == (self._kill["call"], self._kill["when"], self._kill["nth"]):
            os.kill(os.getpid(), signal.SIGKILL)
        if call in self._each_of:
            step = f"{self.stage}: {when} {call} {' '.join(map(about, args[:1]))}".strip()
            with self._lock:
                if step not in self._known:
                    with self._log.open("a") as log:
                        log.write(step + "\n")
                    os.kill(os.getpid(), signal.SIGKILL)


def about(argument: Any) -> str:
    """Say what a call is about, in words that are the same in every run."""
    match argument:
        case Holding():
            return f"{len(argument.machines)} at {argument.cm}"
        case Revocation():
            return "releasable" if argument.releasable else "pending"
        case Event():
            return argument.kind
        case [Intent() as first, *_]:
            return f"{first.kind} at {first.cm}"
        case str() if argument.startswith("urn:"):
            return argument
    return ""


class Tripwire:
    """Stands in front of a target; this process may die before or after each call of a method of it."""

    def __init__(self, target: object, death: Death) -> None:
        self._target = target
        self._death = death

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            nth = self._death.count(name)
            self._death.reached(name, args, "before", nth)
            result = found(*args, **kwargs)
            self._death.reached(name, args, "after", nth)
            return result

        return call


@lru_cache(maxsize=1)
def connect_fast(directory: Path, slice_name: str) -> ProtoGeniServer:
    """Make the product's server, with pauses that fit simulated time."""
    bed = read_bed_file(directory)
    settings = CloudlabSettings(
        certificate=bed.user_pem,
        passphrase_file=bed.passphrase_file,
        ca_bundle=bed.ca_bundle,
        sa_url=bed.sa_url,
        slice=slice_name,
        cms=tuple(CmSettings(urn=cm.urn, url=cm.url) for cm in bed.cms),
        retry_for=3,
        read_timeout=10,
    )
    server = connect(settings, clock=SystemClock())
    server._delete_poll = PAUSE
    limits = server._transport._limits
    server._transport._limits = dataclasses.replace(limits, backoff=(0.02, 0.1))
    return server


def callback_settings(bed: BedFile) -> CallbackSettings:
    assert bed.callback_url is not None
    url = urlsplit(bed.callback_url)
    assert url.hostname is not None
    assert url.port is not None
    return CallbackSettings(
        listen=url.hostname,
        port=url.port,
        certificate=bed.callback.cert,
        key=bed.callback.key,
        ca_bundle=bed.callback.ca,
        allowed_urns=bed.callback.urns,
    )


def live(order: dict[str, Any]) -> None:
    """Be an agent until killed: follow ``plan.json``, tell ``status.json`` after each cycle."""
    home = Path(order["home"])
    with (home / "agent.log").open("a", buffering=1) as log:
        structlog.configure(logger_factory=structlog.WriteLoggerFactory(file=log))
        try:
            _live(order, home)
        except BaseException:
            traceback.print_exc(file=log)
            raise


def _live(order: dict[str, Any], home: Path) -> None:
    bed = read_bed_file(Path(order["bed"]))
    death = Death(order)
    death.stage = _plan(home)["stage"]
    ledger = Tripwire(Ledger(home / "ledger.db"), death)
    server = connect_fast(Path(order["bed"]), order["slice"])
    # The server was made before the fork, and SQLite does not outlast one.
    server._credentials._slices = Slices(server.slice_urn, ledger)  # type: ignore[arg-type]
    manager = Wanting(
        Tripwire(server, death),
        ManagerConfig(intents=ledger, revocations=ledger, holdings=ledger, events=ledger, cycle=CYCLE),
        manage_order=ORDER,
        manage_intervals=INTERVALS,
        method_reset_triggers={},
        retry_interval=0.05,
        enable_delete=True,
    )
    manager.set_helper(Cleaning(home / "cleaned"))
    if bed.callback_url is not None:
        CallbackServer(manager, callback_settings(bed)).start()
    if order["threads"]:
        _follow(manager, death, home)
        manager.start()
    pause = threading.Event()
    while True:
        _follow(manager, death, home)
        if not order["threads"]:
            manager.manage_once()
        _tell(manager, order, death.counts, home)
        pause.wait(PAUSE)


def _plan(home: Path) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((home / "plan.json").read_text())
    return plan


def _follow(manager: Wanting, death: Death, home: Path) -> None:
    plan = _plan(home)
    death.stage = plan["stage"]
    manager.wanted = plan["wanted"]
    lease = LeaseSettings(duration=plan["lease"], renew_when_left=plan["lease"] * 0.9)
    if lease != manager.lease:
        manager.lease = lease
        manager.wake("renew")


def _tell(manager: Wanting, order: dict[str, Any], counts: Counter[str], home: Path) -> None:
    with manager.rlock:
        revoked = sorted(manager.revocations)
    status = {
        "run": order["run"],
        "wanted": manager.wanted,
        "held": sorted(n.node_id for n in manager.held()),
        "ready": sorted(n.node_id for n in manager.inventory.with_fate("ready")),
        "in_flight": sorted(i.client_id for i in manager._slivers.intents.in_flight()),
        "revoked": revoked,
        "cms_read": len(manager.inventory.slivers),
        "slice_expires": manager.slice_expires.timestamp() if manager.slice_expires else 0,
        "sliver_expires": {cm: when.timestamp() for cm, when in manager.inventory.expires.items()},
        "counts": counts,
        "fatal": manager.fatal,
        "said": manager.said,
    }
    fresh = home / "status.new"
    fresh.write_text(json.dumps(status))
    fresh.replace(home / "status.json")


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        # Each child finds it made and never used: to check the user's key takes a tenth of a second.
        connect_fast(Path(order["bed"]), order["slice"])
        child = os.fork()
        if child == 0:
            try:
                live(order)
            finally:
                os._exit(1)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
