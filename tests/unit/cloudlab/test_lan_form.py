"""In which form a CM is told the LANs of added machines: what manifests and refusals teach."""

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.cloudlab.api import ComponentManager
from agent.cloudlab.credentials import parse_credential
from agent.cloudlab.lan_form import LanForm, by_name
from agent.cloudlab.transport import Limits, Remote, Transport
from agent.core import errors
from agent.core.model import Lan, LanPort

CM = "urn:publicid:IDN+cluster.example.net+authority+cm"
ADDRESS = {"name": "lan-0", "address": "10.10.1.3", "netmask": "255.255.255.0"}
NODES: dict[str, dict[str, object]] = {"n-3": {"lans": [ADDRESS], "startup": "true"}}
NAMED = {"n-3": {"lans": ["lan-0"], "startup": "true"}}
OF_2016 = "Malformed arguments: No such HASH(0x55d0c8a1)"
OF_2021 = "lan-0: Must supply IP/MASK on all members, or no members"


def a_lan(netmask: str) -> list[Lan]:
    return [Lan("lan-0", (LanPort("lan-0", "10.10.1.1", netmask), LanPort("lan-0", "10.10.1.2", netmask)))]


def test_a_manifest_without_masks_is_of_a_cm_that_knows_names_alone() -> None:
    form = LanForm()
    assert form.first(NODES) == NODES
    form.read(a_lan(""))
    assert form.first(NODES) == NAMED
    form.read(a_lan("255.255.255.0"))
    assert form.first(NODES) == NODES
    form.read([Lan("lan-1", ())])
    assert form.first(NODES) == NODES, "a LAN without addresses tells nothing"


def test_a_refusal_counts_for_more_than_a_manifest() -> None:
    form = LanForm()
    form.read(a_lan("255.255.255.0"))
    assert form.other(errors.BadArgumentsError(OF_2016, code=1), NODES, NODES) == NAMED
    form.read(a_lan("255.255.255.0"))
    assert form.first(NODES) == NAMED
    assert form.other(errors.BadArgumentsError(OF_2021, code=1), NAMED, NODES) == NODES, (
        "it became a newer one"
    )
    assert form.first(NODES) == NODES


@pytest.mark.parametrize("words", [OF_2021, "lan-0:n-3 must provide a netmask if you specify an IP address"])
def test_both_texts_of_newer_cms_are_known(words: str) -> None:
    assert LanForm().other(errors.BadArgumentsError(words, code=1), NAMED, NODES) == NODES


@pytest.mark.parametrize(("words", "sent"), [("No such lan-0", NODES), (OF_2021, NODES), (OF_2016, NAMED)])
def test_another_refusal_has_nothing_sent_again(words: str, sent: dict[str, dict[str, object]]) -> None:
    form = LanForm()
    assert form.other(errors.BadArgumentsError(words, code=1), sent, NODES) is None
    assert form.first(NODES) == NODES


def test_machines_without_lans_have_one_form() -> None:
    assert by_name({"n": {"startup": "true"}}) == {"n": {"startup": "true"}}


@pytest.fixture
def cm(scripted: Any, user_context: ssl.SSLContext) -> Iterator[ComponentManager]:
    transport = Transport(user_context, Limits(20, 20, 0))
    yield ComponentManager(transport, Remote(scripted.url, CM), "ada")
    transport.close()


def manifest(netmask: str) -> str:
    ip = f'<ip address="10.10.1.1" type="ipv4"{netmask}/>'
    node = f'<node client_id="n-1" sliver_id="urn:s"><interface client_id="n-1:0">{ip}</interface></node>'
    link = '<link client_id="lan-0"><interface_ref client_id="n-1:0"/></link>'
    return f'<rspec xmlns="http://www.geni.net/resources/rspec/3">{node}{link}</rspec>'


@pytest.mark.parametrize(
    ("told", "refusal", "first", "second"),
    [("", OF_2021, ["lan-0"], [ADDRESS]), (' netmask="255.255.255.0"', OF_2016, [ADDRESS], ["lan-0"])],
    ids=["names first", "addresses first"],
)
def test_one_refusal_is_enough_to_find_the_form_of_a_cm(
    cm: ComponentManager, scripted: Any, credential_text: Callable[..., str], told: str, refusal: str,
    first: list[object], second: list[object],
) -> None:  # fmt: skip
    text = manifest(told)
    accepted, refused = scripted.value(text), scripted.error(1, refusal)
    scripted.answers(accepted, refused, accepted, accepted)
    credential = parse_credential(credential_text())
    cm.delete_nodes(credential, "urn:sliver", ["n-2"])
    for _ in range(2):
        cm.add_nodes(credential, "urn:sliver", {"n-3": {"lans": [ADDRESS]}})
    sent = [got.arguments["nodes"] for got in scripted.received[1:]]
    assert [each["n-3"]["lans"] for each in sent] == [first, second, second]
