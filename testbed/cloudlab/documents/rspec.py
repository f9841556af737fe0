"""What all RSpecs share, whichever they are: namespaces, nodes and links (protogeni.md §4)."""

from __future__ import annotations

from typing import cast

from lxml import etree

V3 = "http://www.geni.net/resources/rspec/3"
V2 = "http://www.protogeni.net/resources/rspec/2"
EMULAB = "http://www.protogeni.net/resources/rspec/ext/emulab/1"
SITE_INFO = "http://www.protogeni.net/resources/rspec/ext/site-info/1"


def prefixes(default: str, **others: str) -> dict[str, str]:
    """Return namespace declarations for lxml: the default one, and prefixes."""
    # lxml wants None for the default namespace; its stubs know strings only.
    return cast("dict[str, str]", {None: default, **others})


def parse_xml(text: str) -> etree._Element:
    """Parse a document without entities or network.

    Raises:
        lxml.etree.XMLSyntaxError: it is not well formed.
    """
    return etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False, no_network=True))


def namespace(element: etree._Element) -> str:
    """Return the namespace of an element, "" for none."""
    return etree.QName(element).namespace or ""


def children(element: etree._Element, tag: str, space: str) -> list[etree._Element]:
    """Return the children of that tag and namespace."""
    return element.findall(f"{{{space}}}{tag}")


def nodes_of(root: etree._Element, cm_urn: str) -> list[etree._Element]:
    """Return the node elements that are this CM's: those that name it, and those that name none."""
    found = children(root, "node", namespace(root))
    return [node for node in found if node.get("component_manager_id", cm_urn) == cm_urn]


def links_of(root: etree._Element, cm_urn: str) -> list[etree._Element]:
    """Return the link elements that concern this CM."""
    space = namespace(root)
    kept = []
    for link in children(root, "link", space):
        managers = [manager.get("name") for manager in children(link, "component_manager", space)]
        if not managers or cm_urn in managers:
            kept.append(link)
    return kept
