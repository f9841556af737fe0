"""Who is let in, by servers of 2016 and 2021 (protogeni.md §1.5, protogeni-2021.md §1.1 to §1.3)."""

from __future__ import annotations

import http.client
import ssl
import xmlrpc.client
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from testbed import pki
from testbed.cli import app
from testbed.cloudlab.steering.control import SteeringError, ask

OLD, NEW = 0, 1
"""Of the default sites, one is of each generation."""
DOMAINS = ("cluster.example.net", "east.example.net")


def fault(client, method="GetVersion", *params, site=OLD):
    with pytest.raises(xmlrpc.client.Fault) as caught:
        client.cm(method, *params, site=site)
    return caught.value.faultCode, caught.value.faultString


def open_again(cloudlab):
    cloudlab.doors.account("ada", "active")
    cloudlab.doors.logins("", on=True)
    cloudlab.doors.experiments("", "on")
    cloudlab.doors.portals("", None)


@pytest.fixture
def doors(shared):
    yield shared.doors
    open_again(shared)


@pytest.mark.parametrize(
    ("site", "number", "text"),
    [
        (OLD, -32497, "no such method Nonsense"),
        (NEW, -32601, "no such method Nonsense"),
    ],
)
def test_an_unknown_method(eva, site, number, text):
    assert fault(eva, "Nonsense", {}, site=site) == (number, text)


@pytest.mark.parametrize(
    ("site", "number", "text"),
    [
        (OLD, -32600, "Internal Error executing GetVersion"),
        (
            NEW,
            -32400,
            (
                "Internal Error executing GetVersion:\n"
                "Use of uninitialized value in concatenation (.) or string"
                " at /usr/testbed/lib/GeniCMV2.pm line 1204.\n"
            ),
        ),
    ],
)
def test_a_method_that_died(shared, eva, site, number, text):
    shared.fault("GetVersion", "internal-error", at=DOMAINS[site])
    assert fault(eva, site=site) == (number, text)


@pytest.mark.parametrize("site", [OLD, NEW])
def test_a_process_that_died_outside_its_method(shared, eva, site):
    shared.fault("GetVersion", "dies-after", at=DOMAINS[site])
    assert fault(eva, site=site) == (-32400, "XMLRPC Server Error")


@pytest.mark.parametrize(
    ("site", "offline"),
    [
        (OLD, "CM temporarily offline; please try again later"),
        (NEW, "Server temporarily offline; please try again later"),
    ],
)
def test_a_server_that_is_overloaded_or_takes_no_logins(shared, eva, doors, site, offline):
    shared.fault("GetVersion", "fault503", times=2, at=DOMAINS[site])
    both = {fault(eva, site=site), fault(eva, site=site)}
    assert both == {(503, offline), (503, "Server is WAY too busy; please try again later")}
    doors.logins(DOMAINS[site], on=False)
    assert fault(eva, site=site) == (503, offline)
    assert eva.cm("GetVersion", site=1 - site)["code"] == 0
    doors.logins(DOMAINS[site], on=True)
    assert eva.cm("GetVersion", site=site)["code"] == 0


@pytest.mark.parametrize("site", [OLD, NEW])
@pytest.mark.parametrize("body", [b"no xml", b"<methodResponse/>", b"<methodCall/>"])
def test_a_body_that_is_no_call(shared, eva, site, body):
    url = urlsplit(shared.cms[site].url)
    connection = http.client.HTTPSConnection(url.hostname, url.port, context=eva.context, timeout=5)
    connection.request("POST", url.path, body, {"Content-Type": "text/xml"})
    reply = connection.getresponse().read()
    connection.close()
    assert b"-32700" in reply


@pytest.mark.parametrize(
    ("site", "number", "text"),
    [
        (OLD, -32500, "Your account is no longer active!"),
        (NEW, 7, "Not a valid local user. Who are you really?"),
    ],
)
def test_a_user_without_an_account(shared, eva, site, number, text):
    names = pki.Names("x", uris=("urn:publicid:IDN+example.net+user+eve",))
    identity = shared.identities.authority.issue("eve", names)
    eva.context = ssl.create_default_context(cafile=str(shared.bed_file().ca_bundle))
    eva.context.load_cert_chain(str(identity.cert_path), str(identity.key_path))
    assert fault(eva, site=site) == (number, text)


def test_an_account_that_is_not_active(eva, doors):
    """1.2: the same words, another number."""
    doors.account("ada", "inactive")
    assert fault(eva, site=OLD) == (-32500, "Your account is no longer active!")
    assert fault(eva, site=NEW) == (3, "Your account is no longer active!")
    with pytest.raises(xmlrpc.client.Fault, match="no longer active"):
        eva.sa("GetVersion")
    doors.account("ada", "active", "sa")
    assert eva.sa("GetVersion")["code"] == 0


def test_a_frozen_account(eva, doors):
    """1.2: did not exist in 2016."""
    doors.account("ada", "frozen")
    assert fault(eva, site=NEW) == (3, "Your account has been frozen!")
    assert eva.cm("GetVersion", site=OLD)["code"] == 0


def test_disabled_experiments_close_the_cm_alone(eva, doors):
    doors.experiments(DOMAINS[NEW], "off")
    assert fault(eva, site=NEW) == (503, "Server temporarily offline; please try again later")
    doors.experiments(DOMAINS[NEW], "off-2024")
    assert fault(eva, site=NEW) == (
        503,
        "Server temporarily offline;   experiments are disabled in the CM",
    )
    assert eva.sa("GetVersion")["code"] == eva.cm("GetVersion", site=OLD)["code"] == 0


def test_only_users_of_known_portals_are_let_in(eva, doors):
    """1.3: the domain of the certificate counts."""
    doors.portals(DOMAINS[NEW], ["aptlab.net"])
    assert fault(eva, site=NEW) == (7, "Not accepting connections from anyone we do not know")
    doors.portals(DOMAINS[NEW], ["ample.net"])
    assert eva.cm("GetVersion", site=NEW)["code"] == 0


def test_a_closed_server_says_no_more_than_that(eva, doors):
    """1.1: logins before experiments before the account before the portal."""
    doors.portals(DOMAINS[NEW], [])
    doors.account("ada", "frozen")
    doors.experiments(DOMAINS[NEW], "off-2024")
    doors.logins(DOMAINS[NEW], on=False)
    words = []
    for undo in (
        lambda: doors.logins("", on=True),
        lambda: doors.experiments("", "on"),
        lambda: doors.account("ada", "active"),
        lambda: None,
    ):
        words.append(fault(eva, "Nonsense", site=NEW)[1])
        undo()
    assert [text.partition(";")[0] for text in words] == [
        "Server temporarily offline",
        "Server temporarily offline",
        "Your account has been frozen!",
        "Not accepting connections from anyone we do not know",
    ]


def test_the_sa_is_of_the_generation_that_it_is_told(start, foreign):
    for generation, number in ((2016, -32497), (2021, -32601)):
        client = foreign(start(sa_generation=generation))
        with pytest.raises(xmlrpc.client.Fault) as caught:
            client.sa("Nonsense")
        assert caught.value.faultCode == number


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["account", "eve", "frozen"], "there is no user 'eve'; there are ada"),
        (["account", "ada", "cold"], "an account is active, inactive, frozen, not 'cold'"),
        (["account", "ada", "frozen", "--at", DOMAINS[OLD]], "a server of 2016 does not look"),
        (["logins", "mars"], "there is no CM 'mars'"),
        (["experiments", DOMAINS[OLD], "off"], "a server of 2016 has no switch for experiments"),
        (["experiments", DOMAINS[NEW], "maybe"], "experiments are on, off, off-2024, not 'maybe'"),
        (["experiments", "sa", "off"], "at CMs alone"),
        (["portals", DOMAINS[OLD]], "a server of 2016 lets everybody in"),
    ],
)
def test_what_makes_no_sense_is_refused(shared, arguments, words):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(shared.directory)])
    assert (result.exit_code, words in result.output) == (1, True), result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["account", "ada", "frozen"], "ada: frozen\n"),
        (["logins", DOMAINS[NEW]], f"{DOMAINS[NEW]}: logins are off\n"),
        (["experiments", DOMAINS[NEW], "off"], f"{DOMAINS[NEW]}: experiments are off\n"),
        (["portals", DOMAINS[NEW], "a.net"], f"{DOMAINS[NEW]}: lets in its own a.net\n"),
    ],
)
def test_each_is_switched_on_from_the_command_line(shared, eva, doors, arguments, said):
    result = CliRunner().invoke(app, [*arguments, "--dir", str(shared.directory)])
    assert (result.exit_code, result.output) == (0, said)
    fault(eva, site=NEW)
    ask(shared.directory, {"do": "portals", "at": DOMAINS[NEW], "known": None})


def test_rubbish_on_the_socket_is_refused(shared):
    for command in ({"do": "logins", "at": "sa", "on": 1}, {"do": "portals", "at": "sa", "known": "x"}):
        with pytest.raises(SteeringError):
            ask(shared.directory, command)
