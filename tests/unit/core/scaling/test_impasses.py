"""What people are told of an image that cannot be used any more."""

from __future__ import annotations

import pytest

from agent.core.errors import BusyError, ImageError
from agent.core.impasse import cause_of
from agent.core.model import Sliver, SliverNode
from agent.core.scaling.impasses import mend_of

NEW, OLD = "urn:publicid:IDN+emulab.net+image+proj//new", "urn:publicid:IDN+emulab.net+image+proj//old"


def sliver(**images: str) -> Sliver:
    nodes = "".join(
        f'<node client_id="{name}"><sliver_type name="raw-pc">'
        + (f'<disk_image name="{image}"/>' if image else "")
        + "</sliver_type></node>"
        for name, image in images.items()
    )
    text = f'<rspec xmlns="http://www.geni.net/resources/rspec/3">{nodes}</rspec>'
    machines = tuple(SliverNode(name, f"pc-{name}", "urn:cm", f"s-{name}") for name in images)
    return Sliver("urn:cm", "sliver", None, machines, text)


@pytest.mark.parametrize("named", [OLD, "proj//old", f"{OLD}:2", "proj/old", "proj:old", "PROJ/old"])
def test_an_image_is_told_with_the_machines_that_run_it(named: str) -> None:
    words = mend_of(ImageError("deprecated", image=named), sliver(a=OLD, b=NEW, c=OLD))
    assert words.endswith(f"machines by image: {OLD}: a, c")


def test_where_the_image_is_not_named_all_are_told() -> None:
    words = mend_of(ImageError("use the new one"), sliver(a=OLD, b="", c=OLD))
    assert words.endswith(f"machines by image: the default image: b; {OLD}: a, c")


@pytest.mark.parametrize("named", ["proj/ol", "proj/older", "other/old", OLD.replace("emulab", "other")])
def test_an_image_whose_name_is_like_another_ones_is_not_that_one(named: str) -> None:
    words = mend_of(ImageError("deprecated", image=named), sliver(a=OLD))
    assert words.startswith(f"no machine of the sliver runs {named}")


def test_an_image_by_url_is_that_of_the_same_url() -> None:
    url = "https://emulab.net/image_metadata.php?uuid=1"
    words = mend_of(ImageError("Invalid disk image url", image=url), sliver(a=url, b="https://emulab.net/2"))
    assert words.endswith(f"machines by image: {url}: a")


def test_machines_of_the_default_image_may_run_the_one_that_is_named() -> None:
    words = mend_of(ImageError("deprecated", image="emulab-ops/UBUNTU22-64-STD"), sliver(a="", b=NEW))
    assert words.endswith("machines by image: the default image: a")


def test_an_image_that_no_machine_runs_is_that_of_new_ones() -> None:
    words = mend_of(ImageError("Unknown image URN", image=NEW), sliver(a=OLD))
    assert words.startswith(f"no machine of the sliver runs {NEW}: see [request] image")


@pytest.mark.parametrize("held", [None, Sliver("urn:cm", "sliver", None, (), "no XML")])
def test_without_machines_the_mend_is_told(held: Sliver | None) -> None:
    assert mend_of(ImageError("use the new one"), held) == ImageError.mend


def test_what_passes_by_itself_is_nobodys_task() -> None:
    assert cause_of(BusyError("resource is busy", code=14)) is None
