"""The diagrams of the documents are legible on a phone."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

import pytest
from defusedxml import ElementTree

DIAGRAMS = sorted((Path(__file__).parents[2] / "docs").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
PHONE = 340.0
"""CSS pixels that a page leaves for a picture on a phone that is 360 wide."""
LEGIBLE = 10.0
"""CSS pixels of the smallest letters."""


def sizes(part: Element, inherited: float) -> list[float]:
    """Find the font size of each text, in units of the drawing."""
    own = float(part.get("font-size", inherited))
    below = [size for child in part for size in sizes(child, own)]
    return [own, *below] if part.tag == f"{SVG}text" else below


@pytest.fixture(params=DIAGRAMS, ids=lambda path: path.stem)
def drawing(request: pytest.FixtureRequest) -> Element:
    return ElementTree.parse(request.param).getroot()


def test_the_smallest_letters_are_legible_on_a_phone(drawing: Element) -> None:
    width = float(drawing.get("viewBox").split()[2])
    assert "font-size" not in drawing.find(f"{SVG}style").text
    assert min(sizes(drawing, 0.0)) * PHONE / width >= LEGIBLE


def test_it_is_no_wider_than_a_column_and_says_in_words_what_it_shows(drawing: Element) -> None:
    assert float(drawing.get("width")) <= 600
    named = {part.get("id"): " ".join(part.text.split()) for part in drawing if part.get("id")}
    assert [named[name] for name in drawing.get("aria-labelledby").split()] == list(named.values())
    assert all(named.values())
