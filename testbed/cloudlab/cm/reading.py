"""DiscoverResources and Resolve (protogeni.md §3.2, §3.4, protogeni-2025.md §5.2)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from testbed.cloudlab import urn
from testbed.cloudlab.answer import Code, RefusalError, forbidden, malformed
from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.documents import advertisement, manifest
from testbed.cloudlab.documents.credentials import Credential
from testbed.cloudlab.method import Request
from testbed.cloudlab.state import Aggregate, Machine
from testbed.cloudlab.steering.faults import Kind
from testbed.cloudlab.wire.xmlrpc import flag

_NOBODY = advertisement.Caller()


class ReadMethods:
    """The methods that change nothing."""

    def __init__(self, cm: ComponentManager) -> None:
        self._cm = cm
        cm.methods["DiscoverResources"] = self._discover
        cm.methods["Resolve"] = self._resolve

    def _discover(self, request: Request) -> object:
        request.require("credentials")
        credentials = self._cm.check(request)
        version = request.text("rspec_version") or "2"
        if version not in advertisement.VERSIONS:
            raise malformed("Improper version request")
        caller = self._caller(credentials)
        available = flag(request.params.get("available"))
        if self._cm.around.faults.strike(self._cm.urn, "DiscoverResources", {Kind.OTHER_ADVERTISEMENT}):
            # The file of a call that was running already, with parameters of its own.
            version, available = "2" if version == "3" else "3", not available
            caller = advertisement.Caller()
        text = advertisement.write(
            self._cm.site,
            list(self._cm.machines.values()),
            self._cm.around.clock.now(),
            version=version,
            available=available,
            caller=caller,
        )
        return zlib.compress(text.encode()) if flag(request.params.get("compress")) else text

    def _caller(self, credentials: Sequence[Credential]) -> advertisement.Caller:
        """Tell of whom the credentials are; the slice need not be here yet."""
        own = {
            sliver.machine.node_id
            for credential in credentials
            if (record := self._cm.named(credential)) and record.aggregate
            for sliver in record.aggregate.nodes.values()
            if sliver.reserved
        }
        of_slices = [
            name for each in credentials if (name := urn.parse(each.target)) and name.kind == "slice"
        ]
        if not of_slices:
            return advertisement.Caller(own)
        project = of_slices[0].project
        barred = self._cm.reservations.barred(project, self._cm.around.clock.now())
        return advertisement.Caller(own, project, barred)

    def _resolve(self, request: Request) -> object:
        request.require("credentials", "urn")
        wanted = request.text("urn")
        name = urn.parse(wanted)
        if name is None:
            raise malformed("Bad characters in URN")
        if name.kind != "slice" and name.domain.lower() != self._cm.site.domain:
            raise RefusalError(Code.ERROR, "Authority mismatch")
        credential = self._cm.check(request)[0]
        if name.kind == "slice":
            return self._resolve_slice(wanted, credential)
        if name.kind == "sliver":
            return self._resolve_sliver(wanted, credential)
        if name.kind == "ticket":
            return self._resolve_ticket(wanted, credential)
        if name.kind != "node":
            raise RefusalError(Code.UNSUPPORTED, "Unsupported resource type")
        machine = self._cm.machines.get(name.name)
        if machine is None:
            raise _nothing_here()
        return self._node_record(wanted, machine)

    def _resolve_slice(self, wanted: str, credential: Credential) -> object:
        record = self._cm.slices.get(wanted)
        if record is None:
            raise _nothing_here()
        if self._cm.named(credential) is not record:
            raise forbidden(f"No permission to resolve {wanted}")
        answer: dict[str, object] = {"urn": record.urn}
        if record.async_code:
            # Without a manifest, although machines of before may run still.
            return {**answer, "async_code": record.async_code, "async_output": record.async_output}
        if record.ticket is not None:
            answer["ticket_urn"] = record.ticket.urn
        aggregate = record.aggregate
        if aggregate is not None:
            answer["sliver_urn"] = aggregate.urn
            answer["manifest"] = self._cm.manifest_text(record, aggregate)
            if aggregate.accounts:
                answer["users"] = _users(aggregate)
        return answer

    def _resolve_ticket(self, wanted: str, credential: Credential) -> str:
        for record in self._cm.slices.values():
            if record.ticket is not None and record.ticket.urn == wanted:
                if self._cm.named(credential) is not record:
                    raise forbidden(f"No permission to resolve {wanted}")
                return record.ticket.text
        raise _nothing_here()

    def _resolve_sliver(self, wanted: str, credential: Credential) -> object:
        for record in self._cm.slices.values():
            aggregate = record.aggregate
            if aggregate is None:
                continue
            slivers = {sliver.urn for sliver in aggregate.nodes.values()}
            if wanted != aggregate.urn and wanted not in slivers:
                continue
            if self._cm.named(credential) is not record:
                raise forbidden(f"No permission to resolve {wanted}")
            text = self._cm.manifest_text(record, aggregate)
            if wanted in slivers:
                text = manifest.node_text(aggregate.manifest, wanted)
            return {"urn": wanted, "manifest": text}
        raise _nothing_here()

    def _node_record(self, wanted: str, machine: Machine) -> object:
        now = self._cm.around.clock.now()
        rspec = advertisement.write(
            self._cm.site, [machine], now, version="2", available=False, caller=_NOBODY
        )
        return {
            "hrn": f"{self._cm.site.domain}.{machine.node_id}",
            "uuid": "",
            "role": "testnode",
            "hostname": f"{machine.node_id}.{self._cm.site.domain}",
            "physctrl": machine.address,
            "urn": wanted,
            "rspec": rspec,
            "url": f"https://www.{self._cm.site.domain}/shownode.php3?node_id={machine.node_id}",
            "gid": self._cm.gid,
        }


def _nothing_here() -> RefusalError:
    return RefusalError(Code.SEARCHFAILED, "Nothing here by that name")


def _users(aggregate: Aggregate) -> list[dict[str, object]]:
    return [
        {
            "urn": account.urn,
            "login": account.login,
            "keys": [{"type": "ssh", "key": key} for key in account.keys],
        }
        for account in aggregate.accounts
    ]
