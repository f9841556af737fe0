"""A document as the first request: each machine has one start-up command, which every CM runs alike."""

from __future__ import annotations

from lxml import etree

from agent.core.request.document import RequestDocument
from agent.core.request.rspec import RSPEC, parse_request
from agent.core.request.startup import first_startup

_NS = {"r": RSPEC}


def first_request(document: RequestDocument) -> str:
    """Return the document for ``CreateSliver``, as it is where all CMs understand its commands."""
    ones = {node.client_id: first_startup(node) for node in document.nodes}
    commands = {client_id: one for client_id, one in ones.items() if one is not None}
    if not commands:
        return document.text
    root = parse_request(document.text)
    for node in root.iterfind("r:node", _NS):
        if (command := commands.get(node.get("client_id", ""))) is not None:
            _replace(node, command)
    return etree.tostring(root, encoding="unicode").encode("ascii", "xmlcharrefreplace").decode("ascii")


def _replace(node: etree._Element, command: str) -> None:
    first, *others = node.findall("r:services/r:execute", _NS)
    first.attrib.update({"shell": "/bin/sh", "command": command})
    for other in others:
        parent = other.getparent()
        assert parent is not None
        parent.remove(other)
