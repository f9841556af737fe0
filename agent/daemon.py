"""The composition root: builds every part from the settings, starts and stops them; only it knows all."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import sdnotify
import structlog

from agent import config, log
from agent.admin import AdminServer
from agent.cloudlab.callback import CallbackServer
from agent.cloudlab.server import connect
from agent.config import Settings
from agent.core.errors import ConfigError
from agent.core.expiry import ExpiryWarning
from agent.core.helper import SimpleElasticSliceHelper
from agent.core.manager import ManagerConfig
from agent.core.model import Event
from agent.core.ports import SliceServer, SystemClock
from agent.core.profile import DocumentHelper, read_rspec, run_profile
from agent.ledger import Ledger
from agent.mail import Mailer
from agent.metrics import Metrics
from agent.slurm.administration import Administration
from agent.slurm.backends.cli import CliBackend
from agent.slurm.manager import SlurmElasticSliceManager
from agent.slurm.policy import SlurmPolicy
from agent.ssh import SshShell

logger = structlog.get_logger()

STOP_TIME = 4.0
"""Seconds for the parts to end by themselves."""
STUCK_AFTER = 150.0
"""Seconds without a look at the drains after which the watchdog is not told that all is well."""
RELOADABLE = frozenset({"lease", "demand", "weights", "drain", "join", "log"})


class _Recorder:
    """Tells each event to the log, the ledger and the figures."""

    def __init__(self, ledger: Ledger, metrics: Metrics) -> None:
        self._ledger = ledger
        self._metrics = metrics

    def record(self, event: Event) -> None:
        logger.info(event.message, kind=event.kind, subject=event.subject, **event.data)
        self._metrics.event(event)
        self._ledger.record(event)


class Daemon:
    """All parts of a running agent."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._parts = ExitStack()
        self._wake = threading.Event()
        self._stopping = False
        self._reloading = False
        self._expiry: ExpiryWarning

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit status.

        Raises:
            ConfigError: a part cannot be built from these settings.
        """
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_signal)
        notifier = sdnotify.SystemdNotifier()
        try:
            manager = self._build()
            notifier.notify("READY=1")
            logger.info("the agent is up", config=str(self._path))
            status = self._watch(manager, notifier)
            notifier.notify("STOPPING=1")
        finally:
            self._end_parts()
        return status

    def _end_parts(self) -> None:
        """Stop what was started, newest first; leave what does not end in time: a call to Cloudlab, say."""
        ending = threading.Thread(target=self._parts.close, name="ending", daemon=True)
        ending.start()
        ending.join(STOP_TIME)
        if ending.is_alive():
            logger.warning("some parts did not end in time and are left")

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reloading = True
        else:
            self._stopping = True
        self._wake.set()

    def _watch(self, manager: SlurmElasticSliceManager, notifier: sdnotify.SystemdNotifier) -> int:
        """Wait for signals; feed the watchdog while the drains are looked at."""
        interval = int(os.environ.get("WATCHDOG_USEC", "60000000")) / 1e6 / 3
        while not self._stopping:
            self._wake.wait(min(interval, 20.0))
            self._wake.clear()
            if self._reloading:
                self._reloading = False
                notifier.notify("RELOADING=1")
                self._reload(manager)
                notifier.notify("READY=1")
            if manager.fatal:
                logger.error("the agent ends", reason=manager.fatal)
                return 1
            if warning := self._expiry.look(manager.clock.now()):
                manager.tell("certificate", "", warning)
            if manager.drainer.seconds_since_look() < STUCK_AFTER:
                notifier.notify("WATCHDOG=1")
        logger.info("the agent ends: it was asked to")
        return 0

    def _build(self) -> SlurmElasticSliceManager:
        settings = self._settings
        clock = SystemClock()
        metrics = Metrics()
        ledger = Ledger(settings.ledger.path, max_events=settings.ledger.max_events)
        self._on_stop(ledger.close)
        events = _Recorder(ledger, metrics)
        server = connect(settings.cloudlab, clock=clock, observe=metrics.request)
        for warning in server.identity.warnings:
            logger.warning(warning)
        self._expiry = ExpiryWarning(server.identity.expires)
        helper = helper_of(settings, server)
        manager = SlurmElasticSliceManager(
            server,
            ManagerConfig(
                clock=clock,
                intents=ledger,
                revocations=ledger,
                events=events,
                mail=self._start_mailer(server.email),
                lease=settings.lease,
                cycle=settings.cycle,
            ),
            backend=CliBackend(settings.slurm, clock),
            shell=SshShell(settings.ssh),
            policy=policy_of(settings),
            drains=ledger,
            manage_intervals=settings.cycle.intervals(),
            retry_interval=settings.cycle.retry_interval,
            percent_available_minimum=settings.request.percent_available_minimum,
            nodetype=settings.request.nodetype or helper.request_type,
        )
        manager.set_helper(helper)
        metrics.watch(manager.view, server.identity.expires)
        admin = AdminServer(settings.admin, Administration(manager, ledger))
        callback = CallbackServer(manager, settings.callback, observe=metrics.callback)
        port, stop_metrics = metrics.serve(settings.metrics)
        logger.info("figures are served", address=settings.metrics.listen, port=port)
        self._on_stop(stop_metrics)
        admin.start()
        self._on_stop(admin.stop)
        callback.start()
        self._on_stop(callback.stop)
        manager.start()
        self._on_stop(manager.stop)
        self._on_stop(server.close)
        return manager

    def _start_mailer(self, address: str) -> Mailer | None:
        """Begin to send mail, where a mail server is named; ``address`` is the one in the certificate."""
        settings = self._settings.mail
        if not settings.host:
            return None
        recipient = settings.recipient or address
        if not recipient:
            raise ConfigError("[mail] recipient: an address is expected: the user's certificate has none")
        mailer = Mailer(settings, recipient)
        mailer.start()
        self._on_stop(lambda: mailer.stop(STOP_TIME / 2))
        return mailer

    def _on_stop(self, call: Callable[[], object]) -> None:
        self._parts.callback(call)

    def _reload(self, manager: SlurmElasticSliceManager) -> None:
        try:
            fresh = config.load(self._path)
        except ConfigError as error:
            logger.warning("the new settings have faults; the old ones stay in force", error=str(error))
            return
        changed = {n for n in Settings.model_fields if getattr(fresh, n) != getattr(self._settings, n)}
        self._settings = fresh
        log.configure(fresh.log)
        manager.policy = policy_of(fresh)
        manager.lease = fresh.lease
        logger.info(
            "the settings were read again",
            changed=sorted(changed & RELOADABLE),
            need_a_restart=sorted(changed - RELOADABLE),
        )


def helper_of(settings: Settings, server: SliceServer) -> SimpleElasticSliceHelper:
    """Make the helper that the section [request] describes.

    Raises:
        ConfigError: the request's file or script, or a value of the section, is not fit for it.
    """
    request = settings.request
    if request.profile_script:
        python, limit = request.profile_python, request.profile_timeout
        script = Path(request.profile_script)
        text = run_profile(script, python=python, timeout=limit)
        return DocumentHelper(text, str(script), server, node_prefix=request.node_prefix)
    if request.rspec_file:
        file = Path(request.rspec_file)
        return DocumentHelper(read_rspec(file), str(file), server, node_prefix=request.node_prefix)
    return SimpleElasticSliceHelper(
        server=server,
        image_urn=request.image or None,
        nodetype=request.nodetype or None,
        tarballs=list(request.tarballs),
        startup_command=request.startup_command or None,
        node_prefix=request.node_prefix,
    )


def policy_of(settings: Settings) -> SlurmPolicy:
    """Gather the settings that the decisions about Slurm obey."""
    return SlurmPolicy(
        demand=settings.demand,
        weights=settings.weights,
        drain=settings.drain,
        join=settings.join,
        partitions=settings.slurm.partitions,
        ssh_user=settings.ssh.user,
    )


def serve(path: Path) -> int:
    """Run the daemon with this agent.conf until it is asked to end; return the exit status.

    Raises:
        ConfigError: the settings have faults.
    """
    settings = config.load(path)
    log.configure(settings.log)
    status = Daemon(path, settings).run()
    sys.stderr.flush()
    # A thread may still wait for Cloudlab or a machine: what matters is in the ledger, Slurm and Cloudlab.
    os._exit(status)
