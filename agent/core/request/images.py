"""Which image each machine of a manifest runs, as it tells. Pure."""

from __future__ import annotations

from lxml import etree

from agent.core.request.rspec import RSPEC

_NODE, _IMAGE = f"{{{RSPEC}}}node", f"{{{RSPEC}}}disk_image"


def images_of(manifest: str) -> dict[str, str]:
    """Return client_id -> name of its image, "" where it asked for none; empty where nothing can be read."""
    try:
        root = etree.fromstring(manifest.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    except (etree.XMLSyntaxError, ValueError):
        return {}
    found = {}
    for node in root.iter(_NODE):
        if client_id := node.get("client_id"):
            image = next(node.iter(_IMAGE), None)
            found[client_id] = image.get("name") or image.get("url") or "" if image is not None else ""
    return found
