"""Which types a site's reservation system calls short, and what is made of one that admits nobody."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.cloudlab.credentials import Credential
from agent.cloudlab.foresight import Foresight, module_url
from agent.core.errors import (
    AccountError,
    BadArgumentsError,
    CloudlabError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)

CM = "urn:publicid:IDN+utah.example.net+authority+cm"
URL = "https://www.utah.example.net:12369/protogeni/xmlrpc/cm/2.0"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CREDENTIAL = Credential("<signed/>", "urn:publicid:IDN+example.net+project+Elastic", "urn:ada", NOON)


class FakeTransport:
    """Answers ``Reserve`` by type."""

    def __init__(self, answers):
        self.answers = answers
        self.calls = []

    def call(self, remote, method, arguments):
        self.calls.append((remote.url, method, arguments))
        answer = self.answers.get(arguments["type"], {"approved": 1})
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask(answers, held, fetch=lambda: CREDENTIAL, times=1):
    """Ask so often; return what was told at last, and the calls."""
    transport = FakeTransport(answers)
    foresight = Foresight(transport, {CM: URL}, fetch)
    for _ in range(times):
        found = foresight.find_short(CM, held, NOON, NOON + timedelta(hours=24))
    return found, transport.calls


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (URL, "https://www.utah.example.net:12369/protogeni/xmlrpc/cluster"),
        ("https://h:1/protogeni/xmlrpc/cm", "https://h:1/protogeni/xmlrpc/cluster"),
        ("https://h:1/cm/xmlrpc/sa", ""),
    ],
)
def test_the_module_is_beside_the_cm(url, expected):
    assert module_url(url) == expected


def test_each_type_is_tried_and_nothing_is_reserved():
    found, calls = ask({"m510": {"approved": 0, "conflict": {"needed": 2}}}, {"m510": 4, "c220": 1, "": 1})
    assert found == ("m510",)
    (url, method, arguments), _ = calls
    assert (url, method) == ("https://www.utah.example.net:12369/protogeni/xmlrpc/cluster", "Reserve")
    assert arguments == {
        "credentials": ["<signed/>"],
        "type": "m510",
        "count": 4,
        "start": "2026-11-22T12:00:00Z",
        "end": "2026-11-23T12:00:00Z",
        "reason": "whether the lease can be extended",
        "check": 1,
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"approved": 0}, ()),
        ({"approved": 0, "conflict": ""}, ()),
        (RefusedError("no message", code=7), ("m510",)),
        (RefusedError("Admission Control says limited to 2 nodes", code=7), ()),
        ("approved", ()),
    ],
)
def test_what_needs_an_approval_or_is_limited_is_not_short(answer, expected):
    assert ask({"m510": answer}, {"m510": 4})[0] == expected


@pytest.mark.parametrize(
    "error",
    [
        AccountError("Not a valid local user", code=7),
        ForbiddenError("Only Cloudlab clusters permit this interface", code=3),
        CloudlabError("Internal Error executing Reserve", code=-32400),
    ],
)
def test_a_site_that_does_not_admit_us_is_not_asked_again(error):
    found, calls = ask({"m510": error}, {"m510": 4, "c220": 1}, times=3)
    assert found == ()
    assert len(calls) == 1


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("No such node/type", code=12),
        BadArgumentsError("Malformed arguments: Invalid type", code=1),
    ],
)
def test_a_type_that_the_reservation_system_does_not_know_hinders_no_other(error):
    found, calls = ask({"d820.v1": error, "m510": RefusedError("2 more", code=7)}, {"d820.v1": 1, "m510": 4})
    assert found == ("m510",)
    assert len(calls) == 2
    _, calls = ask({"d820.v1": error}, {"d820.v1": 1}, times=2)
    assert len(calls) == 2, "the site is asked again"


def test_a_reservation_that_nobody_approved_counts_where_no_other_does():
    doubted = {"approved": 0, "conflict": {"needed": 2}}
    refused = RefusedError("2 more needed", code=7)
    assert ask({"m510": doubted, "c220": refused}, {"m510": 4, "c220": 1})[0] == ("c220",)
    assert ask({"m510": doubted}, {"m510": 4, "c220": 1})[0] == ("m510",)


def test_a_site_that_is_silent_is_asked_again():
    _, calls = ask({"m510": UnreachableError("no connection")}, {"m510": 4}, times=3)
    assert len(calls) == 3


def test_without_a_credential_nobody_is_asked():
    def refuse():
        raise NotFoundError("no such project", code=12)

    assert ask({}, {"m510": 4}, refuse) == ((), [])


def test_a_cm_that_is_not_known_tells_nothing():
    assert Foresight(FakeTransport({}), {}, lambda: CREDENTIAL).find_short(CM, {"m510": 1}, NOON, NOON) == ()
