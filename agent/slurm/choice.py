"""How Slurm's commands are reached, which way in to Slurm is taken, and what that cannot do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.core.errors import ConfigError, SlurmDownError, SlurmError, UnavailableError
from agent.core.ports import Clock, Host, RemoteCommand
from agent.slurm.cli.backend import CliBackend
from agent.slurm.model import SlurmBackend
from agent.slurm.pyslurm.backend import PyslurmBackend
from agent.slurm.rest.backend import RestBackend
from agent.slurm.settings import SlurmSettings

_CHOSEN_IN_SILENCE = "no answer when the way in was chosen: it is cli until another one is seen to work"


def _nothing() -> None:
    """End a way in that holds nothing open."""


@dataclass(frozen=True)
class Choice:
    """A way in to Slurm."""

    name: str
    """``pyslurm``, ``rest`` or ``cli``."""
    backend: SlurmBackend
    remarks: tuple[str, ...] = ()
    """A line each: what a person should know of it, such as what it cannot do with this cluster."""
    passed_over: tuple[str, ...] = ()
    """A line each: why not another one that ``auto`` would have taken first."""
    close: Callable[[], None] = _nothing
    """Ends what the way in has running."""
    may_change: bool = False
    """``auto`` may choose another one later."""


def slurm_commands(
    settings: SlurmSettings, clock: Clock, shell: RemoteCommand | None, login: str
) -> CliBackend:
    """Reach Slurm's commands, on this machine or, by the shell, on [slurm] host.

    Args:
        settings: [slurm].
        clock: gives the time of a snapshot.
        shell: the way to other machines; None only where [slurm] host is this one.
        login: the user there where [slurm] host names none; "" for root.
    """
    user, at, name = settings.host.rpartition("@")
    if not name:
        return CliBackend(settings, clock)
    assert shell is not None, "[slurm] host is reached over SSH"
    head = Host(name, name, user if at else login or "root")
    return CliBackend(settings, clock, head=(head, shell))


def choose(settings: SlurmSettings, clock: Clock, commands: SlurmBackend) -> Choice:
    """Build the way in that [slurm] asks for; ``auto`` takes the first that works: pyslurm, rest, cli.

    A controller that is down while this is asked does not end the agent: only pyslurm has to prove itself.

    Args:
        settings: [slurm].
        clock: gives the time of a snapshot.
        commands: the way in through Slurm's commands.

    Raises:
        ConfigError: the one that is asked for by name lacks a setting.
        UnavailableError: it does not work here.
    """
    match settings.backend:
        case "cli":
            return Choice("cli", commands)
        case "rest":
            if not settings.rest_url:
                raise ConfigError(
                    "[slurm] rest_url: backend is rest, so an address of slurmrestd is expected"
                )
            return _rest(settings, clock, commands)
        case "pyslurm":
            try:
                return _pyslurm(settings, clock, commands)
            except SlurmError as error:
                raise UnavailableError(f"[slurm] backend: pyslurm does not work here: {error}") from error
        case "auto":
            return _first_that_works(settings, clock, commands)


def _first_that_works(settings: SlurmSettings, clock: Clock, commands: SlurmBackend) -> Choice:
    passed_over: list[str] = []
    silent = False
    try:
        return replace(_pyslurm(settings, clock, commands), may_change=True)
    except SlurmError as error:
        passed_over.append(f"not pyslurm: {error}")
        silent = isinstance(error, SlurmDownError)
    if settings.rest_url:
        rest = _rest(settings, clock, commands)
        try:
            rest.backend.reservations()
        except SlurmError as error:
            passed_over.append(f"not rest: {error}")
            silent = silent or isinstance(error, SlurmDownError)
        else:
            return replace(rest, passed_over=tuple(passed_over), may_change=True)
    remarks = (_CHOSEN_IN_SILENCE,) if silent else ()
    return Choice("cli", commands, remarks, tuple(passed_over), may_change=silent)


def _pyslurm(settings: SlurmSettings, clock: Clock, commands: SlurmBackend) -> Choice:
    """Build the backend over pyslurm, which needs an optional library.

    Raises:
        SlurmError: it cannot work with this cluster.
    """
    if settings.host:
        raise SlurmError(f"[slurm] host: Slurm is on {settings.host}, and pyslurm works on this machine only")
    backend = PyslurmBackend(settings, clock, commands)
    return Choice("pyslurm", backend, close=backend.close)


def _rest(settings: SlurmSettings, clock: Clock, commands: SlurmBackend) -> Choice:
    reason = why_unusable(commands)
    backend = RestBackend(
        settings, clock, None if reason else commands, no_aside=f"Slurm's commands do not work here: {reason}"
    )
    try:
        remarks = backend.shortcomings()
    except SlurmError as error:
        remarks = (f"what slurmrestd cannot do is not known yet: {error}",)
    return Choice("rest", backend, remarks)


def why_unusable(commands: SlurmBackend) -> str:
    """Tell why a way in cannot work; "" when it does, and while only the controller does not answer."""
    try:
        commands.reservations()
    except SlurmDownError:
        return ""
    except SlurmError as error:
        return str(error)
    return ""
