"""AddNodes: how the server puts new nodes into the manifest, as text in single quotes, nothing escaped.

protogeni.md §3.7, protogeni-2021.md §3.3 (GeniCMV2.pm AddNodes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lxml import etree

from testbed.cloudlab import urn
from testbed.cloudlab.answer import Code, RaisedError, RefusalError, malformed
from testbed.cloudlab.cm.manager import ComponentManager
from testbed.cloudlab.documents.rspec import links_of, parse_xml

_HASH, _ARRAY = "HASH(0x55d0c8a1)", "ARRAY(0x55d0c8b9)"
"""A struct and a list in Perl, as text."""


class Paste:
    """Puts nodes into manifests as one CM does."""

    def __init__(self, cm: ComponentManager) -> None:
        self._cm = cm
        self._new = cm.site.generation >= 2021

    def node(self, root: etree._Element, client_id: str, fields: object) -> None:
        """Add a node to a manifest.

        Raises:
            RefusalError: code 1 for fields that are malformed, code 2 where the text is no XML.
            RaisedError: the fields are no struct.
        """
        if not isinstance(fields, Mapping):
            raise RaisedError(f"{client_id} is not a hash")
        bound = self._bound(fields.get("node"))
        lans = [self._lan(item) for item in _list(fields, "lans", client_id)]
        links = {link.get("client_id"): link for link in links_of(root, self._cm.urn)}
        for lan, _ in lans:
            if lan not in links:
                raise malformed(f"No such {lan}")
        default = root.nsmap.get(None)
        around = f" xmlns='{default}'" if default else ""
        text = (
            f"<around{around}><node client_id='{client_id}' exclusive='true'{bound}>"
            f"<sliver_type name='raw'>{_image(fields)}</sliver_type>{self._hardware_type(fields)}"
            f"<services>{self._tarballs(fields, client_id)}{self._startup(fields, client_id)}</services>"
            f"{_interfaces(client_id, lans)}</node></around>"
        )
        try:
            root.append(parse_xml(text)[0])
        except etree.XMLSyntaxError as error:
            raise RefusalError(Code.ERROR, f"Could not parse XML for {client_id}: {error}") from error
        for lan, _ in lans:
            # Without a prefix, as the node itself: lost where the document's namespace has one.
            tag = f"{{{default}}}interface_ref" if default else "interface_ref"
            etree.SubElement(links[lan], tag, client_id=f"{client_id}:{lan}")

    def _hardware_type(self, fields: Mapping[str, object]) -> str:
        if not self._new or "hardware_type" not in fields:
            return ""
        return f"<hardware_type name='{fields['hardware_type']}'/>"

    def _tarballs(self, fields: Mapping[str, object], client_id: str) -> str:
        words = (
            f"tarballs (for {client_id}) malformed; tarballs is a list of tarballs, or a list of "
            "[ tarball, install-path ] tuples!"
        )
        pairs = [self._pair(item, "/", words) for item in _list(fields, "tarballs", client_id)]
        return "".join(f"<install url='{url}' install_path='{path}'/>" for url, path in pairs)

    def _startup(self, fields: Mapping[str, object], client_id: str) -> str:
        if "startup" not in fields:
            return ""
        words = (
            f"startup commands (for {client_id}) malformed; startup commands is a list of startup "
            "commands, or a list of [ command, shell ] tuples!"
        )
        command, shell = self._pair(fields["startup"], "/bin/bash", words)
        return f"<execute shell='{shell}' command='{command}'/>"

    def _pair(self, item: object, usual: str, words: str) -> tuple[object, object]:
        """Read one thing, or since 2021 a list of it and where or by what; ``words`` refuse another list."""
        if not isinstance(item, list):
            return item, usual
        if not self._new:
            return _ARRAY, usual
        if len(item) != 2:
            raise malformed(words)
        return item[0], item[1]

    def _lan(self, item: object) -> tuple[str, str]:
        """Return the name of a LAN, and the address to paste."""
        if not isinstance(item, Mapping):
            return str(item), ""
        if not self._new:
            return _HASH, ""
        pasted = [f"{key}='{item[key]}'" for key in ("address", "netmask") if key in item]
        kind = item.get("type", "ipv4")
        named = pasted or "type" in item
        return str(item.get("name")), f"<ip {' '.join(pasted)} type='{kind}'/>" if named else ""

    def _bound(self, node_id: object) -> str:
        """Check the physical node of an AddNodes field; return the attribute to paste."""
        if node_id is None:
            return ""
        machine = self._cm.machines.get(str(node_id))
        if machine is None:
            raise RefusalError(Code.BADARGS, f"Physical node {node_id} does not exist")
        if machine.reserved:
            raise RefusalError(Code.BADARGS, f"Physical node {node_id} is not available")
        return f" component_id='{urn.make(self._cm.site.domain, 'node', machine.node_id)}'"


def _list(fields: Mapping[str, object], key: str, client_id: str) -> list[object]:
    value = fields.get(key, [])
    if not isinstance(value, list):
        raise malformed(f"{key} for {client_id} is not a list")
    return value


def _image(fields: Mapping[str, object]) -> str:
    return f"<disk_image name='{fields['diskimage']}'/>" if "diskimage" in fields else ""


def _interfaces(client_id: str, lans: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<interface client_id='{client_id}:{lan}'>{address}</interface>" for lan, address in lans)
