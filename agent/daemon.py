"""The composition root: builds every part from the settings, starts and stops them; only it knows all."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import sdnotify
import structlog

from agent import config, standby
from agent.admin.acts import Acts
from agent.admin.answers import ConfigAnswer
from agent.admin.questions import Questions
from agent.admin.routes import Operations
from agent.admin.server import AdminServer
from agent.cloudlab.callback import CallbackServer
from agent.cloudlab.connect import connect, identity_of, slice_urn_of
from agent.cloudlab.retired import take_leave
from agent.cloudlab.server import ProtoGeniServer
from agent.cluster.manager import SlurmElasticSliceManager
from agent.config import Settings
from agent.core import children, threads
from agent.core.config import AllEvents, LoggedEvents, ManagerConfig
from agent.core.errors import ConfigError
from agent.core.events import EventKind, OfCm
from agent.core.ports import SystemClock
from agent.core.request.document_helper import DocumentHelper
from agent.core.scaling.brake import TOLD
from agent.core.slice.words import left_behind_words
from agent.ledger.bounded import open_ledger
from agent.page.gather import Gatherer
from agent.page.server import PageServer
from agent.parts import cluster_settings, helper_of, ownership_of
from agent.service import ENDS, AskedToEndError, Service, ThreadLostError
from agent.signals import SignalWaiter
from agent.slurm.choice import choose, slurm_commands
from agent.slurm.primary import Lookout
from agent.slurm.rechooser import Rechooser
from agent.ssh.shell import SshShell
from agent.tell import log
from agent.tell.expiry import ExpiryWarning, LeaseWarnings
from agent.tell.mail import Mailer, make_post
from agent.tell.metrics import Metrics

logger = structlog.get_logger()

STOP_TIME = 3.0
"""Seconds for the parts to end by themselves."""
STUCK_AFTER = 150.0
"""Seconds without a look at the drains after which the watchdog is not told that all is well."""
ANEW = -1
"""Instead of an exit status: this agent starts anew, to stand by again, or with another way in to Slurm."""
STANDING_WAIT = 1.0
"""Seconds after which a change of the primary slurmctld is noticed at the latest."""
UNREAD_AFTER = 30.0
"""Seconds beyond the interval of ``get_system_state`` after which another way in to Slurm is looked for."""
RELOADABLE = frozenset({"lease", "demand", "weights", "drain", "join", "log", "mail", "plugin"})


class Daemon:
    """All parts of a running agent."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._parts = ExitStack()
        self._service: Service
        self._reloading = threading.Lock()
        """One reading of agent.conf is taken up before the next one begins."""
        self._server: ProtoGeniServer
        self._mailer: Mailer
        self._lookout: Lookout | None = None
        """Who tells when another agent is to act; None where there is no other."""
        self._rechooser: Rechooser | None = None
        """Who tells when there is a better way in to Slurm; None where none can come."""
        self._certificate = ExpiryWarning("the user's certificate")
        self._leases = LeaseWarnings()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit status, or ``ANEW``.

        Raises:
            ConfigError: a part cannot be built from these settings.
        """
        with SignalWaiter(*ENDS, signal.SIGHUP) as signals:
            service = self._service = Service(signals, sdnotify.SystemdNotifier())
            with threads.listening(service.take):
                try:
                    if self._settings.slurm.act == "primary":
                        self._stand_by(service)
                    manager = service.do(self._build)
                    service.ready()
                    logger.info("the agent is up", config=str(self._path))
                    if self._lookout is not None:
                        manager.tell(EventKind.PRIMARY, "", f"this agent acts: {self._lookout.standing}")
                    with threads.listening(lambda fault: manager.tell(EventKind.THREAD, "", str(fault))):
                        return self._watch(manager, service)
                except AskedToEndError:
                    logger.info("the agent ends: it was asked to")
                    return 0
                except ThreadLostError as error:
                    logger.critical("the agent ends", reason=str(error))
                    return 1
                finally:
                    self._end_parts()

    def _stand_by(self, service: Service) -> None:
        """Answer politely until slurmctld is primary on this host.

        Raises:
            AskedToEndError: it was asked to end.
        """
        with ExitStack() as parts:
            lookout = self._lookout = service.do(partial(standby.begin, self._settings, parts))
            self._on_stop(lookout.stop)
            service.ready()
            logger.info("the agent stands by until slurmctld is primary here", host=socket.gethostname())
            while not lookout.standing.acts:
                if signal.SIGHUP in service.wait(STANDING_WAIT):
                    threads.errand("reload", partial(self._read_again, self._use))
                service.is_well()

    def _end_parts(self) -> None:
        """Stop what was started, newest first; leave what does not end in time: a call to Cloudlab, say."""
        ending = threads.errand("ending", self._parts.close)
        ending.join(STOP_TIME)
        if ending.is_alive():
            logger.warning("some parts did not end in time and are left")
        children.end_all()

    def _watch(self, manager: SlurmElasticSliceManager, service: Service) -> int:
        """Wait for signals until it is to start anew; feed the watchdog while the drains are looked at.

        Raises:
            AskedToEndError: it was asked to end.
            ThreadLostError: the manager, or a thread that it cannot do without, ended by itself.
        """
        lookout = self._lookout
        while True:
            came = service.wait(min(service.interval, STANDING_WAIT if lookout else 20.0))
            if lookout is not None and not lookout.standing.acts:
                manager.tell(EventKind.STANDBY, "", f"this agent stands by: {lookout.standing}")
                return ANEW
            if self._rechooser is not None and self._rechooser.found:
                manager.tell(EventKind.BACKEND, "", f"another way in to Slurm: {self._rechooser.found}")
                return ANEW
            if signal.SIGHUP in came:
                threads.errand("reload", partial(self._read_again, partial(self._take_up, manager)))
            if manager.fatal:
                service.lose(manager.fatal)
            self._warn_of_ends(manager)
            if manager.drainer.seconds_since_look() < STUCK_AFTER:
                service.is_well()

    def _warn_of_ends(self, manager: SlurmElasticSliceManager) -> None:
        """Tell early of a certificate or a lease that nothing renews."""
        now = manager.clock.now()
        then = "Cloudlab does not answer without a new one from its portal"
        if warning := self._certificate.look(self._server.identity.expires, then, now):
            manager.tell(EventKind.CERTIFICATE, "", warning)
        for lapse, warning in self._leases.look(manager.lapses(), now):
            manager.tell(EventKind.LEASE_ENDS, lapse.cm or self._server.slice_urn, warning)

    def _build(self) -> SlurmElasticSliceManager:
        settings, clock = self._settings, SystemClock()
        metrics = Metrics(settings.cycle.intervals())
        ledger = open_ledger(settings.ledger)
        self._on_stop(ledger.close)
        events = AllEvents(LoggedEvents(), metrics, ledger)
        identity = identity_of(settings.cloudlab, clock.now())
        left_behind = ledger.begin_slice(slice_urn_of(settings.cloudlab, identity), clock.now())
        departed = take_leave(settings.cloudlab.cms, ledger)
        slivers = {holding.cm: holding.sliver_urn for holding in ledger.holdings() if holding.there}
        server = connect(
            settings.cloudlab,
            clock=clock,
            observe=metrics.request,
            retired=departed.retired,
            store=ledger,
            slivers=slivers,
        )
        advice = server.identity.age.advice(settings.cloudlab.tls_security_level)
        for warning in (*server.identity.warnings, *([advice] if advice else ())):
            logger.warning(warning)
        self._server = server
        helper = helper_of(settings, server)
        if isinstance(helper, DocumentHelper):
            for remark in (*helper.doubts, *helper.remarks):
                logger.warning("the request", remark=remark)
        shell = SshShell(settings.ssh)
        commands = slurm_commands(settings.slurm, clock, shell, settings.ssh.user)
        way_in = choose(settings.slurm, clock, commands)
        self._on_stop(way_in.close)
        logger.info("the way in to Slurm is chosen", backend=way_in.name)
        for remark in (*way_in.passed_over, *way_in.remarks):
            logger.info("way in to Slurm", backend=way_in.name, remark=remark)
        manager = SlurmElasticSliceManager(
            server,
            ManagerConfig(
                clock=clock,
                intents=ledger,
                revocations=ledger,
                holdings=ledger,
                renamed=departed.renamed,
                retired=departed.retired,
                left_behind=left_behind,
                ownership=ownership_of(settings),
                events=events,
                told=ledger.told(TOLD),
                mail=self._start_mailer(server.email),
                lease=settings.lease,
                cycle=settings.cycle,
                observe_step=metrics.step,
            ),
            backend=way_in.backend,
            shell=shell,
            settings=cluster_settings(settings),
            wishes=ledger,
            limited=commands.limited_partitions,
            manage_intervals=settings.cycle.intervals(),
            retry_interval=settings.cycle.retry_interval,
            percent_available_minimum=settings.request.percent_available_minimum,
            nodetype=settings.request.nodetype or helper.request_type,
        )
        manager.set_helper(helper)
        manager.memory.run_times.accounts = commands.earlier_runs
        for left in left_behind:
            # Its nodes may be in Slurm under these names.
            helper.reserve_names((*left.machines, *left.asked))
            manager.tell(EventKind.LEFT_BEHIND, left.cm, left_behind_words(left), OfCm(left.cm))
        metrics.watch(manager.view, server.identity.expires, server.credential_expiries)
        operations = Operations(Questions(manager, ledger, self._settings_in_force), Acts(manager))
        admin = AdminServer(settings.admin, operations, events, clock)
        callback = CallbackServer(manager, settings.callback, observe=metrics.callback)
        # First: of two daemons, the second one is told so, and not which port of the two is taken.
        admin.start()
        self._on_stop(admin.stop)
        port, stop_metrics = metrics.serve(settings.metrics)
        logger.info("figures are served", address=settings.metrics.listen, port=port)
        self._on_stop(stop_metrics)
        if settings.page.enabled:
            page = PageServer(settings.page, Gatherer(manager, ledger, server.identity.expires), clock=clock)
            page.start()
            self._on_stop(page.stop)
            logger.info("the status page is served", address=page.address)
        callback.start()
        self._on_stop(callback.stop)
        manager.start()
        self._on_stop(manager.stop)
        if way_in.may_change:
            self._rechooser = Rechooser(
                way_in,
                lambda: choose(settings.slurm, clock, commands),
                commands.reservations,
                read_at=manager.memory.known.read_at,
                stale_after=settings.cycle.get_system_state + UNREAD_AFTER,
                clock=clock,
            )
            self._rechooser.start()
            self._on_stop(self._rechooser.stop)
        self._on_stop(server.close)
        return manager

    def _start_mailer(self, address: str) -> Mailer:
        """Begin to send mail where a mail server is named; ``address`` is the one in the certificate."""
        self._mailer = mailer = Mailer(make_post(self._settings.mail, address))
        mailer.start()
        self._on_stop(lambda: mailer.stop(STOP_TIME / 2))
        return mailer

    def _settings_in_force(self) -> ConfigAnswer:
        return ConfigAnswer(
            path=str(self._path.absolute()),
            settings=self._settings.model_dump(mode="json"),
            reloadable=tuple(sorted(RELOADABLE)),
        )

    def _on_stop(self, call: Callable[[], object]) -> None:
        """Have a part stopped at the end; at once where that has come while the others were built."""
        if self._service.ending:
            call()
            raise AskedToEndError
        self._parts.callback(call)

    def _read_again(self, take: Callable[[Settings], None]) -> None:
        """Have the settings taken up as the file has them now; where they have faults, all stays as it is.

        In a thread of its own: a file that cannot be read at once holds nothing else up.
        """
        with self._reloading:
            self._service.reloading()
            try:
                take(config.load(self._path))
            except ConfigError as error:
                logger.warning("the new settings have faults; the old ones stay in force", error=str(error))
            finally:
                self._service.ready()

    def _use(self, fresh: Settings) -> None:
        self._settings = fresh

    def _take_up(self, manager: SlurmElasticSliceManager, fresh: Settings) -> None:
        """Obey new settings, as far as that needs no restart.

        Raises:
            ConfigError: the section [mail] is not fit for use; nothing was done.
        """
        post = make_post(fresh.mail, self._server.email)
        changed = {n for n in Settings.model_fields if getattr(fresh, n) != getattr(self._settings, n)}
        left = changed - RELOADABLE
        # What is not taken up stays as it is, and is told again at the next reload.
        self._settings = fresh = fresh.model_copy(update={n: getattr(self._settings, n) for n in left})
        log.configure(fresh.log)
        self._mailer.use(post)
        manager.desk.settings = cluster_settings(fresh)
        manager.lease = fresh.lease
        manager.refused.forget()
        manager.memory.misjudged.forget()
        manager.wake("get_system_state")
        logger.info("the settings were read again", changed=sorted(changed & RELOADABLE))
        if "join" in changed and (kept := manager.joined_otherwise()):
            logger.warning("what machines joined as stays until they are gone", nodes=", ".join(kept))
        if left:
            logger.warning(
                "some changes need a restart of the daemon; until then the old settings hold",
                sections=", ".join(f"[{name}]" for name in sorted(left)),
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
    if status == ANEW:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    os._exit(status)
