"""How a CM is asked for machines of a type: by the type where it knows types, by a machine's name else."""

import pytest

from agent.cloudlab.rspec import escape_add_nodes, parse_manifest
from agent.cloudlab.type_form import TypeForm
from agent.core.model import SliverNode

CM = "urn:publicid:IDN+cluster.example.net+authority+cm"
BOTH = {"n-1": {"node": "pc5", "hardware_type": "m510", "startup": "true"}}
BY_NAME = {"n-1": {"node": "pc5", "startup": "true"}}
BY_TYPE = {"n-1": {"hardware_type": "m510", "startup": "true"}}


def given(hardware_type: str) -> list[SliverNode]:
    return [SliverNode("n-1", "pc7", CM, "s", hardware_type), SliverNode("n-0", "pc1", CM, "r", "d430")]


def test_a_machine_is_named_until_the_cm_is_known_to_know_types() -> None:
    form = TypeForm(CM)
    assert form.choose(BOTH) == BY_NAME
    form.read(knows_types=False)
    assert form.choose(BOTH) == BY_NAME
    form.read(knows_types=True)
    assert form.choose(BOTH) == BY_TYPE
    form.read(knows_types=False)
    assert form.choose(BOTH) == BY_TYPE, "a sliver without machines tells nothing"


@pytest.mark.parametrize("fields", [{"node": "pc5"}, {"hardware_type": "m510"}, {}])
def test_what_was_asked_for_one_way_alone_stays_so(fields: dict[str, str]) -> None:
    form = TypeForm(CM)
    assert form.choose({"n-1": fields}) == {"n-1": fields}
    form.read(knows_types=True)
    assert form.choose({"n-1": fields}) == {"n-1": fields}


def test_a_machine_of_another_type_tells_that_types_are_passed_over() -> None:
    form = TypeForm(CM)
    form.read(knows_types=True)
    form.came(form.choose(BOTH), given("m510"))
    form.came(form.choose(BOTH), given(""))
    assert form.choose(BOTH) == BY_TYPE
    form.came(BY_NAME, given("d430"))
    assert form.choose(BOTH) == BY_TYPE, "the machine was named"
    form.came(form.choose(BOTH), given("d430"))
    form.read(knows_types=True)
    assert form.choose(BOTH) == BY_NAME


@pytest.mark.parametrize(
    ("services", "knows"),
    [
        ("", False),
        ('<login username="ada" hostname="pc1"/>', False),
        ('<emulab:recovery available="true"/>', True),
        ('<emulab:imageable available="false"/>', True),
        ('<emulab:powercycle available="true"/><login username="ada" hostname="pc1"/>', True),
    ],
)
def test_a_manifest_tells_whether_its_server_knows_types(services: str, knows: bool) -> None:
    text = (
        '<rspec xmlns="http://www.geni.net/resources/rspec/3"'
        ' xmlns:emulab="http://www.protogeni.net/resources/rspec/ext/emulab/1"><node client_id="n-1"'
        f' sliver_id="urn:s"><services>{services}</services></node></rspec>'
    )
    assert parse_manifest(text, CM).knows_types is knows


def test_a_type_is_a_name_and_nothing_else() -> None:
    assert escape_add_nodes({"n": {"hardware_type": "c220g5"}}) == {"n": {"hardware_type": "c220g5"}}
    for bad in ("", "a b", "m510'/>", "x" * 64, 7):
        with pytest.raises(ValueError, match=r"nodes\['n'\]\.hardware_type: expected a hardware type"):
            escape_add_nodes({"n": {"hardware_type": bad}})
