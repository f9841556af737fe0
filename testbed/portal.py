"""A plain client of Cloudlab, as a portal's script is one: it shares no code with agent or simulator."""

from __future__ import annotations

import ssl
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any
from xmlrpc.client import ServerProxy

from testbed.bedfile import BedFile
from testbed.waiting import wait_for

PROJECT = "labproj"
_DOMAIN = "example.net"
_BUSY = 14
_NAMESPACES = {
    "v3": "http://www.geni.net/resources/rspec/3",
    "emulab": "http://www.protogeni.net/resources/rspec/ext/emulab/1",
}


class Portal:
    """A user with a slice, at the first CM of a test bed."""

    def __init__(self, bed: BedFile, name: str, *, project: str = "") -> None:
        """Find the user's slice of that name, or register it.

        Raises:
            RuntimeError: the SA refuses.
        """
        self._cm = bed.cms[0].url
        self._context = ssl.create_default_context(cafile=str(bed.ca_bundle))
        self._context.load_cert_chain(str(bed.user_pem), password=bed.passphrase)
        domain = f"{_DOMAIN}:{project}" if project else _DOMAIN
        self._urn = f"urn:publicid:IDN+{domain}+slice+{name}"
        sa = bed.sa_url.replace("/xmlrpc/sa", f"/xmlrpc/project/{project}/sa") if project else bed.sa_url
        me = {"credential": self._call(sa, "GetCredential")}
        self._keys = self._call(sa, "GetKeys", version=2, **me)
        is_there = self._urn in self._call(sa, "Resolve", urn=bed.user_urn, **me)["slices"]
        method = "GetCredential" if is_there else "Register"
        self._credential = self._call(sa, method, urn=self._urn, **me)

    def create(self, rspec: str) -> dict[str, str]:
        """Make the sliver; return client_id -> node_id of its machines, once all are ready.

        Raises:
            RuntimeError: the CM refuses.
        """
        _, manifest = self._of_slice("CreateSliver", rspec=rspec, keys=self._keys)
        self._wait_until_ready()
        return _placed(manifest)

    def add(self, names: Sequence[str]) -> dict[str, str]:
        """Add machines of these client_ids; return client_id -> node_id, once all of the sliver are ready.

        Raises:
            RuntimeError: the CM refuses.
        """
        placed = _placed(self._of_slice("AddNodes", nodes={name: {} for name in names}))
        self._wait_until_ready()
        return {name: placed[name] for name in names}

    def remove(self, names: Sequence[str]) -> None:
        """Give machines of these client_ids back.

        Raises:
            RuntimeError: the CM refuses.
        """
        self._of_slice("DeleteNodes", nodes=list(names))

    def _of_slice(self, method: str, **arguments: object) -> Any:
        of_slice = {"slice_urn": self._urn, "credentials": [self._credential]}
        return self._call(self._cm, method, **of_slice, **arguments)

    def _wait_until_ready(self) -> None:
        def ready() -> bool:
            details = self._of_slice("SliverStatus")["details"].values()
            return all((item["state"], item["status"]) == ("started", "ready") for item in details)

        wait_for("all machines of the experiment", ready)

    def _call(self, url: str, method: str, **arguments: object) -> Any:
        """Call a method until the slice is not busy; return the value of the reply."""

        def answer() -> dict[str, Any]:
            with ServerProxy(url, context=self._context) as server:
                reply: Any = getattr(server, method)(arguments)
            return {} if reply["code"] == _BUSY else reply

        reply = wait_for(f"{method} finds the slice free", answer)
        if reply["code"] != 0:
            raise RuntimeError(f"{method}: code {reply['code']}: {reply['output']}")
        return reply["value"]


def _placed(manifest: str) -> dict[str, str]:
    """Read client_id -> node_id out of a manifest."""
    found = {}
    for node in ET.fromstring(manifest).iterfind("v3:node", _NAMESPACES):
        machine = node.find("emulab:vnode", _NAMESPACES)
        if machine is not None:
            found[node.attrib["client_id"]] = machine.attrib["name"]
    return found
