"""A request with fewer machines. Pure."""

from __future__ import annotations

from collections.abc import Collection

from lxml import etree

from agent.core.request.rspec import RSPEC, parse_request

_NODE, _INTERFACE = f"{{{RSPEC}}}node", f"{{{RSPEC}}}interface"


def without_machines(request: str, client_ids: Collection[str]) -> str:
    """Leave machines out of a request that ``build_request`` made, with their places in its LANs.

    Raises:
        ConfigError: not a version 3 request.
    """
    root = parse_request(request)
    gone = [node for node in root.iterfind(_NODE) if node.get("client_id") in client_ids]
    interfaces = {str(each.get("client_id")) for node in gone for each in node.iterfind(_INTERFACE)}
    for node in gone:
        root.remove(node)
    for link in root.iterfind(f"{{{RSPEC}}}link"):
        for part in list(link):
            if part.get("client_id") in interfaces or part.get("source_id") in interfaces:
                link.remove(part)
    return etree.tostring(root, encoding="unicode", pretty_print=True)
