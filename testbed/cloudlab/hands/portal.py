"""What a portal and the people at it do to slices (protogeni-2021.md §12, protogeni-2025.md §5.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from testbed.cloudlab.answer import RaisedError, RefusalError
from testbed.cloudlab.cm.modifying import Failure
from testbed.cloudlab.documents.rspec import EMULAB, V3
from testbed.cloudlab.engine import Engine
from testbed.cloudlab.hands.places import Places
from testbed.cloudlab.identities import PROJECT
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Account
from testbed.cloudlab.steering import arguments
from testbed.cloudlab.steering.control import Commands, SteeringError

FIRST_LIFE = timedelta(hours=16)
"""The most that a portal gives an experiment at first."""
_PORTAL = "https://www.example.net/portal"
_NODE = '<node client_id="{name}" component_manager_id="{cm}"><sliver_type name="raw-pc"/></node>'
_RSPEC = (
    f'<rspec xmlns="{V3}" xmlns:emulab="{EMULAB}" type="request">{{nodes}}{{hosts}}'
    f'<emulab:portal name="example" url="{_PORTAL}/status.php?experiment={{name}}" project="{PROJECT}" '
    'experiment="{name}" sequence="1"/></rspec>'
)
_HOST = '<emulab:vhost name="{cm} pcshared1"><emulab:vm name="vm-1"/></emulab:vhost>'


class PortalSteering:
    """Acts as the portal, which shares the SA's database and calls CMs for its users."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = Places(engine)
        self.commands: dict[str, Commands] = {
            "portal-slice": self._make,
            "portal-modify": self._modify,
            "sa-lock": self._lock,
            "expiry": self._expiry,
        }

    def make(self, name: str, at: str, nodes: Sequence[str], *, user: str = "", hosts: bool = False) -> str:
        """Make a slice with machines at a CM for a user, who is its creator; return the slice's URN.

        All members of the project may log in to the machines.

        Args:
            name: of the slice.
            at: domain or URN of the CM.
            nodes: client_ids.
            user: uid; "" for the first one.
            hosts: let the manifest have a host of virtual machines beside the nodes.

        Raises:
            SteeringError: no such CM or user, or SA or CM refuse.
        """
        cm = self._places.site(at).cm
        users = [known.uid for known in self._engine.users]
        uid = user or users[0]
        if uid not in users:
            raise SteeringError(f"there is no user {uid!r}; there are {', '.join(users)}")
        rspec = _RSPEC.format(
            nodes="".join(_NODE.format(name=each, cm=cm.urn) for each in nodes),
            hosts=_HOST.format(cm=cm.site.domain) if hosts else "",
            name=name,
        )
        with self._engine.mutex, _refusals_told():
            expires = self._engine.clock.now() + FIRST_LIFE
            record, credential = self._engine.sa.make_slice(name, PROJECT, uid, expires)
            keys = [
                {
                    "urn": each.urn,
                    "login": each.login,
                    "keys": [{"type": "ssh", "key": key} for key in each.keys],
                }
                for each in self._accounts()
            ]
            params = {"slice_urn": record.urn, "credentials": [credential], "rspec": rspec, "keys": keys}
            cm.methods["CreateSliver"](Request(record.creator.urn, params))
            self._engine.journal.note(f"a portal made the slice {name} at {cm.site.domain} for {uid}")
        return record.urn

    def modify(
        self,
        name: str,
        at: str,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        *,
        failure: str = "",
    ) -> None:
        """Let a person press Modify: machines come and go at once, also while others boot.

        Args:
            name: name or URN of the slice.
            at: domain or URN of the CM.
            add: client_ids of new machines.
            remove: client_ids of those that go.
            failure: how it fails: one of ``cm.modifying.Failure``; "" for not at all.

        Raises:
            SteeringError: no such CM, slice or machine there, no such failure, or the slice is locked.
        """
        try:
            ends = Failure(failure) if failure else None
        except ValueError as error:
            raise SteeringError(f"a Modify fails in {', '.join(Failure)}, not in {failure!r}") from error
        site = self._places.site(at)
        with self._engine.mutex, _refusals_told():
            record = self._places.slice_at(name, site)
            there = record.aggregate.nodes.keys() if record.aggregate else set()
            for wrong in [*(set(remove) - there), *(set(add) & there)]:
                raise SteeringError(f"{record.name} has {', '.join(there) or 'no machine'}: not {wrong!r}")
            site.modify.change(record, add, remove, self._accounts(), ends)
            changes = [*(f"+{each}" for each in add), *(f"-{each}" for each in remove)]
            words = f"a person pressed Modify for {record.name} at {site.cm.site.domain}: {' '.join(changes)}"
            self._engine.journal.note(f"{words} (code {record.async_code})" if record.async_code else words)

    def lock(self, name: str, *, on: bool) -> None:
        """Hold the SA's lock of a slice, as a portal does while it works, or give it back.

        Raises:
            SteeringError: no such slice, or somebody else holds the lock.
        """
        with self._engine.mutex, _refusals_told():
            record = self._places.slice_at_sa(name)
            if on:
                record.lock.take("slice")
            else:
                record.lock.free()
            self._engine.journal.note(f"the portal {'holds' if on else 'gave back'} the SA's lock of {name}")

    def expiry(self, name: str, at: str, seconds: float) -> None:
        """Have a slice end so many real seconds from now, as a portal or an administrator does: earlier too.

        Args:
            name: name or URN of the slice.
            at: ``sa``, or domain or URN of the CM, where alone it ends then.
            seconds: real ones; not positive: it has ended.

        Raises:
            SteeringError: no such authority, or it has no such slice.
        """
        with self._engine.mutex:
            ends = (self._engine.clock.now() + timedelta(seconds=seconds)).replace(microsecond=0)
            if self._places.is_sa(at):
                self._engine.sa.move_expiry(self._places.slice_at_sa(name), ends)
            else:
                self._places.slice_at(name, self._places.site(at)).expires = ends
            self._engine.journal.note(f"the end of {name} at {at} was moved to {ends:%Y-%m-%dT%H:%M:%SZ}")

    def _accounts(self) -> list[Account]:
        return [
            Account(member.urn, member.user.uid, member.ssh_keys)
            for member in self._engine.sa.members.values()
        ]

    # --- commands

    def _make(self, command: Mapping[str, Any]) -> str:
        return self.make(
            arguments.text(command, "slice"),
            arguments.text(command, "at"),
            arguments.texts(command, "nodes"),
            user=arguments.text(command, "user"),
            hosts=arguments.switch(command, "hosts"),
        )

    def _modify(self, command: Mapping[str, Any]) -> None:
        self.modify(
            arguments.text(command, "slice"),
            arguments.text(command, "at"),
            arguments.texts(command, "add"),
            arguments.texts(command, "remove"),
            failure=arguments.text(command, "failure"),
        )

    def _lock(self, command: Mapping[str, Any]) -> None:
        self.lock(arguments.text(command, "slice"), on=arguments.switch(command, "on"))

    def _expiry(self, command: Mapping[str, Any]) -> None:
        seconds = arguments.number(command, "seconds")
        self.expiry(arguments.text(command, "slice"), arguments.text(command, "at"), seconds)


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Tell a person what SA or CM refuse.

    Raises:
        SteeringError: they do.
    """
    try:
        yield
    except (RefusalError, RaisedError) as error:
        raise SteeringError(str(error)) from error
