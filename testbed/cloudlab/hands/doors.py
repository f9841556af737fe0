"""Accounts and whole authorities that let nobody in, or not everybody (protogeni-2021.md §1.2, §1.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from testbed.cloudlab.engine import Engine
from testbed.cloudlab.hands.places import Places
from testbed.cloudlab.identities import user_urn
from testbed.cloudlab.steering import arguments
from testbed.cloudlab.steering.control import Commands, SteeringError
from testbed.cloudlab.wire.doors import Doors, Experiments, Standing


class DoorSteering:
    """Switches what ``wire.doors`` judges by."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = Places(engine)
        self.commands: dict[str, Commands] = {
            "account": self._account,
            "logins": self._logins,
            "experiments": self._experiments,
            "portals": self._portals,
        }

    def account(self, uid: str, standing: str, at: str = "") -> None:
        """Make an account ``active``, ``inactive`` or ``frozen``, at one authority or at all.

        Raises:
            SteeringError: no such user, standing or authority; or frozen, and the server knows no such thing.
        """
        try:
            wanted = Standing(standing)
        except ValueError as error:
            raise SteeringError(f"an account is {', '.join(Standing)}, not {standing!r}") from error
        users = {user.uid: user_urn(user) for user in self._engine.users}
        if uid not in users:
            raise SteeringError(f"there is no user {uid!r}; there are {', '.join(users)}")
        chosen = self._places.doors(at)
        if wanted is Standing.FROZEN:
            chosen = _those_of_2021(chosen, "does not look whether an account is frozen")
        for doors in chosen:
            doors.standings = {**doors.standings, users[uid]: wanted}
        self._engine.journal.note(f"the account of {uid} is {wanted} {_where(at)}")

    def logins(self, at: str, *, on: bool) -> None:
        """Let an authority (``sa``, or domain or URN of a CM; "" for all) take logins, or none.

        Raises:
            SteeringError: no such authority.
        """
        for doors in self._places.doors(at):
            doors.logins = on
        self._engine.journal.note(f"logins are {'on' if on else 'off'} {_where(at)}")

    def experiments(self, at: str, state: str) -> None:
        """Disable the experiments of a CM, or enable them: ``on``, ``off``, or ``off-2024`` in newer words.

        Raises:
            SteeringError: no such state or CM, or its server has no such switch.
        """
        try:
            wanted = Experiments(state)
        except ValueError as error:
            raise SteeringError(f"experiments are {', '.join(Experiments)}, not {state!r}") from error
        for doors in self._cms_of_2021(at, "has no switch for experiments"):
            doors.experiments = wanted
        self._engine.journal.note(f"experiments are {wanted} {_where(at)}")

    def portals(self, at: str, known: Collection[str] | None) -> None:
        """Let only users of the CM's own domain, and of domains with these ends, in to a CM.

        None lets everybody in again.

        Raises:
            SteeringError: no such CM, or its server has no such rule.
        """
        for doors in self._cms_of_2021(at, "lets everybody in"):
            doors.portals = None if known is None else frozenset(domain.lower() for domain in known)
        told = "all" if known is None else " ".join(sorted(known)) or "nobody else's"
        self._engine.journal.note(f"portals known {_where(at)}: {told}")

    def _cms_of_2021(self, at: str, otherwise: str) -> list[Doors]:
        cms = [doors for doors in self._places.doors(at) if doors.module == "cm"]
        if not cms:
            raise SteeringError("this can be switched at CMs alone, not at the SA")
        return _those_of_2021(cms, otherwise)

    # --- commands

    def _account(self, command: Mapping[str, Any]) -> None:
        uid, standing = arguments.text(command, "user"), arguments.text(command, "standing")
        self.account(uid, standing, arguments.text(command, "at"))

    def _logins(self, command: Mapping[str, Any]) -> None:
        self.logins(arguments.text(command, "at"), on=arguments.switch(command, "on"))

    def _experiments(self, command: Mapping[str, Any]) -> None:
        self.experiments(arguments.text(command, "at"), arguments.text(command, "state"))

    def _portals(self, command: Mapping[str, Any]) -> None:
        known = None if command.get("known") is None else arguments.texts(command, "known")
        self.portals(arguments.text(command, "at"), known)


def _those_of_2021(chosen: Iterable[Doors], otherwise: str) -> list[Doors]:
    newer = [doors for doors in chosen if doors.generation >= 2021]
    if not newer:
        raise SteeringError(f"a server of 2016 {otherwise}")
    return newer


def _where(at: str) -> str:
    return f"at {at}" if at else "everywhere"
