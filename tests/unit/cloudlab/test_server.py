import ssl
import threading
import xmlrpc.client
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from agent.cloudlab.api import ComponentManager, SliceAuthority
from agent.cloudlab.connect import connect
from agent.cloudlab.identity import Identity
from agent.cloudlab.server import ProtoGeniServer
from agent.cloudlab.settings import CloudlabSettings
from agent.cloudlab.transport import Limits, Remote, Transport
from agent.core import errors
from agent.core.ports import SliceServer
from agent.core.views import AgentView
from agent.tell.metrics import Metrics

CM = "urn:publicid:IDN+cluster.example.net+authority+cm"
SA = "urn:publicid:IDN+example.net+authority+sa"
SLICE = "urn:publicid:IDN+example.net+slice+myslice"
SLIVER = "urn:publicid:IDN+cluster.example.net+sliver+4000"
USER = "urn:publicid:IDN+example.net+user+ada"
NOW = datetime(2031, 5, 4, 12, tzinfo=UTC)
END = "2031-05-04T18:00:00Z"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKb"


def manifest(*names: str) -> str:
    nodes = "".join(
        f'<node client_id="{n}" sliver_id="urn:s-{n}" component_id="urn:publicid:IDN+c.net+node+pc-{n}"/>'
        for n in names
    )
    head = f'<rspec xmlns="http://www.geni.net/resources/rspec/3" type="manifest" expires="{END}">'
    return f"{head}{nodes}</rspec>"


class FakeClock:
    def __init__(self) -> None:
        self.time = NOW
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds


class Cloudlab:
    """SA and CM in one: each method has its prepared answers, the last one again and again."""

    def __init__(self, scripted: Any, credential: Callable[..., str]) -> None:
        self.scripted = scripted
        self.credential = credential
        self.clock = FakeClock()
        self.slept: list[float] = []
        self.script: dict[str, list[Any]] = {
            "self": [scripted.value(credential(SA, "2031-05-05T12:00:00Z"))],
            "slice": [scripted.value(credential(SLICE, END))],
            "GetKeys": [scripted.value([])],
            "Resolve": [scripted.value({"urn": SLICE, "sliver_urn": SLIVER, "manifest": manifest("n-1")})],
        }
        scripted.answers(self._answer)

    def _answer(self, handler: Any, got: Any) -> None:
        name = got.method
        if name == "GetCredential":
            name = "slice" if "urn" in got.arguments else "self"
        answers = self.script[name]
        (answers.pop(0) if len(answers) > 1 else answers[0])(handler, got)

    def calls(self, *but: str) -> list[str]:
        return [r.method for r in self.scripted.received if r.method not in but]

    def arguments(self, method: str) -> list[dict[str, Any]]:
        return [r.arguments for r in self.scripted.received if r.method == method]

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.seconds += seconds


@pytest.fixture
def cloudlab(scripted: Any, credential_text: Callable[..., str]) -> Cloudlab:
    return Cloudlab(scripted, credential_text)


@pytest.fixture
def server(
    cloudlab: Cloudlab, user_context: ssl.SSLContext, user_identity: Identity
) -> Iterator[ProtoGeniServer]:
    transport = Transport(user_context, Limits(20, 20, 0), sleep=cloudlab.sleep)
    url = cloudlab.scripted.url
    made = ProtoGeniServer(
        identity=user_identity,
        slice_urn=SLICE,
        sa=SliceAuthority(transport, Remote(url, SA)),
        cms=[ComponentManager(transport, Remote(url, CM), "ada")],
        transport=transport,
        clock=cloudlab.clock,
        delete_timeout=60,
        delete_poll=5,
    )
    yield made
    made.close()


def change(server: ProtoGeniServer, method: str) -> None:
    changes: dict[str, Callable[[], object]] = {
        "CreateSliver": lambda: server.create_sliver(CM, "<rspec/>"),
        "AddNodes": lambda: server.add_nodes(CM, {"n-2": {}}),
        "DeleteNodes": lambda: server.delete_nodes(CM, ["n-1"]),
        "DeleteSlice": lambda: server.delete_sliver(CM),
    }
    changes[method]()


def a_fault(cloudlab: Cloudlab, trouble: str) -> Any:
    scripted = cloudlab.scripted
    if trouble == "drop":
        return scripted.drop
    codes = {"busy": (14, "resource is busy"), "refused": (7, "no"), "unavailable": (503, "offline")}
    return scripted.error(*codes[trouble]) if trouble in codes else scripted.value(1)


def expired(cloudlab: Cloudlab) -> Any:
    return cloudlab.scripted.error(1, f"Malformed arguments: invalid credential (expired at {END})")


def test_the_server_is_what_the_framework_asks_for(server: ProtoGeniServer) -> None:
    typed: SliceServer = server
    assert (typed.slice_urn, list(typed.cms), typed.email) == (SLICE, [CM], "ada@example.net")


# --- the slice


def test_a_slice_lasts_as_long_as_its_credential(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    assert server.find_slice() == datetime(2031, 5, 4, 18, tzinfo=UTC)
    server.find_slice()
    assert cloudlab.arguments("GetCredential")[0] == {}
    assert [a["urn"] for a in cloudlab.arguments("GetCredential")[1:]] == [SLICE, SLICE]


def test_no_slice_is_none(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["slice"] = [cloudlab.scripted.error(12, "No such Slice")]
    assert server.find_slice() is None


def test_a_credential_for_something_else_is_malformed(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["slice"] = cloudlab.script["self"]
    with pytest.raises(errors.MalformedReplyError, match=r"asked for .*myslice, got a credential for .*\+sa"):
        server.find_slice()


def test_a_new_slice_is_registered_until_a_whole_second_of_utc(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["Register"] = [cloudlab.scripted.value(cloudlab.credential(SLICE, END))]
    assert server.create_slice(NOW + timedelta(hours=6, microseconds=5)) == NOW + timedelta(hours=6)
    [arguments] = cloudlab.arguments("Register")
    assert (arguments["urn"], arguments["expiration"]) == (SLICE, END)


@pytest.mark.parametrize("trouble", ["lost", "exists"])
def test_a_lost_reply_of_register_is_settled_by_the_credential(
    trouble: str, server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    exists = cloudlab.scripted.error(2, f"{SLICE} already a registered slice")
    cloudlab.script["Register"] = [cloudlab.scripted.drop if trouble == "lost" else exists]
    assert server.create_slice(NOW + timedelta(hours=6)) == NOW + timedelta(hours=6)
    assert len(cloudlab.arguments("Register")) == 1
    cloudlab.script["slice"] = [cloudlab.scripted.error(12, "No such Slice")]
    with pytest.raises((errors.LostReplyError, errors.AlreadyExistsError)):
        server.create_slice(NOW + timedelta(hours=6))


def test_the_renewed_credential_is_the_one_that_the_cm_sees(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    later = cloudlab.credential(SLICE, "2031-05-05T18:00:00Z")
    cloudlab.script["RenewSlice"] = [
        cloudlab.scripted.value(later),
        cloudlab.scripted.value("2031-05-05T18:00:00 GMT"),
    ]
    asked = NOW + timedelta(days=1, hours=6)
    assert server.renew_slice(asked) == asked
    assert server.renew_sliver(CM, asked) == asked
    at_sa, at_cm = cloudlab.arguments("RenewSlice")
    assert at_sa["expiration"] == at_cm["valid_until"] == "2031-05-05T18:00:00Z"
    assert at_cm["credentials"] == [later]


def test_a_lost_renewal_of_the_slice_is_settled_by_its_end(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["RenewSlice"] = [cloudlab.scripted.drop]
    assert server.renew_slice(NOW + timedelta(hours=6)) == NOW + timedelta(hours=6)
    with pytest.raises(errors.LostReplyError):
        server.renew_slice(NOW + timedelta(hours=7))


def test_a_sliver_is_renewed_at_most_to_the_slices_end_and_may_get_less(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["RenewSlice"] = [
        cloudlab.scripted.drop,
        cloudlab.scripted.value("2031-05-04T17:00:00 GMT"),
    ]
    assert server.renew_sliver(CM, NOW + timedelta(days=9)) == NOW + timedelta(hours=5)
    assert [a["valid_until"] for a in cloudlab.arguments("RenewSlice")] == [END, END]


def test_a_refused_renewal_names_the_machine(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["RenewSlice"] = [cloudlab.scripted.error(7, "Refused cause pc7 is pre-reserved.")]
    with pytest.raises(errors.RefusedError, match=r"pc7 is pre-reserved.*log https://x/log/7"):
        server.renew_sliver(CM, NOW + timedelta(hours=1))


# --- credentials


def test_an_expired_credential_is_fetched_anew_once(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["AddNodes"] = [expired(cloudlab), cloudlab.scripted.value(manifest("n-1", "n-2"))]
    sliver = server.add_nodes(CM, {"n-2": {}})
    assert [n.client_id for n in sliver.nodes] == ["n-1", "n-2"]
    cloudlab.script["AddNodes"] = [expired(cloudlab)]
    before = len(cloudlab.arguments("AddNodes"))
    with pytest.raises(errors.CredentialExpiredError):
        server.add_nodes(CM, {"n-3": {}})
    assert len(cloudlab.arguments("AddNodes")) == before + 2


def test_an_expired_self_credential_is_fetched_anew_once(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["slice"] = [expired(cloudlab), cloudlab.scripted.value(cloudlab.credential(SLICE, END))]
    assert server.find_slice() is not None
    assert cloudlab.calls() == ["GetCredential"] * 4


def test_credentials_are_kept_and_fetched_again_before_their_end(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    for _ in range(3):
        server.find_sliver(CM)
    assert cloudlab.calls("Resolve") == ["GetCredential"] * 2
    cloudlab.clock.time = NOW + timedelta(hours=5, minutes=56)
    server.find_sliver(CM)
    assert cloudlab.calls("Resolve") == ["GetCredential"] * 3


def test_the_ends_of_the_credentials_are_known_and_are_figures(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    metrics = Metrics()
    view = AgentView((), 0, None, {}, {})
    metrics.watch(lambda: view, server.identity.expires, server.credential_expiries)
    assert server.credential_expiries() == {}
    server.find_slice()
    ends = {
        "self": datetime(2031, 5, 5, 12, tzinfo=UTC),
        "slice": datetime(2031, 5, 4, 18, tzinfo=UTC),
    }
    assert server.credential_expiries() == ends
    name = "esagent_credential_expiry_timestamp_seconds"
    for target, end in ends.items():
        assert metrics.registry.get_sample_value(name, {"target": target}) == end.timestamp()
    certificate = metrics.registry.get_sample_value("esagent_certificate_expiry_timestamp_seconds")
    assert certificate == server.identity.expires.timestamp()


def test_an_sa_that_is_down_does_not_keep_us_from_the_cm(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    server.find_sliver(CM)
    cloudlab.script["slice"] = [
        cloudlab.scripted.fault(503, "CM temporarily offline; please try again later")
    ]
    with pytest.raises(errors.UnreachableError):
        server.find_slice()
    assert server.find_sliver(CM) is not None
    cloudlab.clock.time = NOW + timedelta(hours=5, minutes=59)
    assert server.find_sliver(CM) is not None
    cloudlab.clock.time = NOW + timedelta(hours=6)
    with pytest.raises(errors.UnreachableError):
        server.find_sliver(CM)


# --- the sliver


def test_the_manifest_is_read_with_resolve(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    sliver = server.find_sliver(CM)
    assert sliver is not None
    assert (sliver.cm, sliver.urn, sliver.expires) == (CM, SLIVER, datetime(2031, 5, 4, 18, tzinfo=UTC))
    assert sliver.manifest == manifest("n-1")
    assert cloudlab.arguments("Resolve")[0]["urn"] == SLICE


def test_nothing_held_is_none(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    nothing = cloudlab.scripted.error(12, "Nothing here by that name")
    cloudlab.script["Resolve"] = [nothing, cloudlab.scripted.value({"urn": SLICE})]
    cloudlab.script["SliverStatus"] = [cloudlab.scripted.error(12, "No slice or aggregate here")]
    assert server.find_sliver(CM) is None
    assert server.find_sliver(CM) is None
    assert server.sliver_status(CM) is None


def test_a_slice_that_is_gone_is_not_taken_for_an_empty_cm(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["slice"] = [cloudlab.scripted.error(12, "No such Slice")]
    with pytest.raises(
        errors.NotFoundError, match=r"GetCredential at urn:publicid:IDN.example.net.authority.sa"
    ):
        server.find_sliver(CM)


def test_a_broken_manifest_is_malformed(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["Resolve"] = [
        cloudlab.scripted.value({"urn": SLICE, "sliver_urn": SLIVER, "manifest": "<rspec"})
    ]
    with pytest.raises(errors.MalformedReplyError, match=r"Resolve at .*: not XML"):
        server.find_sliver(CM)


@pytest.mark.parametrize("value", [{}, {"a": 1}, {"urn": SLICE, "manifest": manifest("n-1")}])
def test_a_reply_that_is_no_slice_does_not_mean_that_nothing_is_held(
    value: dict[str, object], server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["Resolve"] = [cloudlab.scripted.value(value)]
    with pytest.raises(errors.MalformedReplyError, match=r"Resolve at .*: expected a slice"):
        server.find_sliver(CM)


def test_a_change_by_a_portal_that_failed_does_not_hide_what_is_held(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    scripted = cloudlab.scripted
    failed = {"urn": SLICE, "async_code": 26, "async_output": "could not map"}
    cloudlab.script["Resolve"] = [scripted.value(failed)]
    cloudlab.script["SliverStatus"] = [scripted.value({"state": "started", "status": "ready"})]
    with pytest.raises(errors.MalformedReplyError, match="there is a sliver"):
        server.find_sliver(CM)
    cloudlab.script["SliverStatus"] = [scripted.error(14, "resource is busy")]
    with pytest.raises(errors.BusyError):
        server.find_sliver(CM)
    cloudlab.script["SliverStatus"] = [scripted.error(12, "No slice or aggregate here")]
    assert server.find_sliver(CM) is None
    cloudlab.script["Resolve"] = [scripted.value({"urn": SLICE, "async_code": 0})]
    cloudlab.script["SliverStatus"] = [scripted.error(14, "resource is busy")]
    assert server.find_sliver(CM) is None


def test_an_unknown_cm_is_a_bad_argument(server: ProtoGeniServer) -> None:
    with pytest.raises(errors.BadArgumentsError, match=r"no such CM in \[cloudlab\] cms"):
        server.find_sliver("urn:other")


def test_a_sliver_is_created_with_the_users_keys(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["GetKeys"] = [
        cloudlab.scripted.value(
            [
                {
                    "urn": USER,
                    "login": "ada",
                    "keys": [{"type": "ssh", "key": f"{KEY} caf\xe9"}, {"type": "ssh"}],
                },
                {"urn": "urn:bob", "login": "bob", "keys": []},
            ]
        )
    ]
    pair = [cloudlab.credential(SLIVER, END), manifest("n-1")]
    cloudlab.script["CreateSliver"] = [cloudlab.scripted.value(pair)]
    sliver = server.create_sliver(CM, "<rspec/>")
    assert (sliver.urn, [n.node_id for n in sliver.nodes]) == (SLIVER, ["pc-n-1"])
    [arguments] = cloudlab.arguments("CreateSliver")
    assert arguments["keys"] == [
        {"urn": USER, "login": "ada", "keys": [{"type": "ssh", "key": f"{KEY} caf"}]}
    ]
    assert arguments["rspec"] == "<rspec/>"


def test_machines_that_are_added_to_anothers_sliver_do_not_have_our_own_keys(
    cloudlab: Cloudlab, user_context: ssl.SSLContext, user_identity: Identity
) -> None:
    user = {"urn": USER, "login": "ada", "keys": [{"type": "ssh", "key": "ssh-rsa HERS ada"}]}
    cloudlab.script["GetKeys"] = [cloudlab.scripted.value([user])] * 2
    transport = Transport(user_context, Limits(20, 20, 0), sleep=cloudlab.sleep)
    made = ProtoGeniServer(
        identity=user_identity,
        slice_urn=SLICE,
        sa=SliceAuthority(transport, Remote(cloudlab.scripted.url, SA)),
        cms=[],
        transport=transport,
        clock=cloudlab.clock,
        extra_keys=["ssh-ed25519 OURS esagent"],
    )
    assert made.public_keys() == {"ssh-rsa HERS", "ssh-ed25519 OURS"}
    assert made.public_keys(added=True) == {"ssh-rsa HERS"}
    made.close()


def test_an_empty_list_of_keys_is_left_out(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["CreateSliver"] = [
        cloudlab.scripted.value([cloudlab.credential(SLIVER, END), manifest()])
    ]
    server.create_sliver(CM, "<rspec/>")
    assert "keys" not in cloudlab.arguments("CreateSliver")[0]


def test_status_survives_odd_types_and_leaves_links_out(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    node = {"component_urn": "pc7", "client_id": 12, "state": "started", "status": "ready", "error": ""}
    link = {"component_urn": "lan0", "client_id": "lan0", "state": "started", "status": "ready", "utc": 1}
    cloudlab.script["SliverStatus"] = [
        cloudlab.scripted.value(
            {
                "state": "started",
                "status": "mixed",
                "details": {
                    "urn:s1": {**node, "rawstate": "ISUP", "execute_state": "exited", "execute_status": 0},
                    "urn:s2": {"rawstate": "RELOADING", "nodestatus": 1935770310, "more": [1]},
                    "urn:s3": {**node, "execute_state": "running", "execute_status": "unknown"},
                    "urn:s4": link,
                    "urn:s5": "nonsense",
                },
            }
        )
    ]
    status = server.sliver_status(CM)
    assert status is not None
    first, second, third = status.nodes
    assert (first.client_id, first.node_id, first.sliver_id) == ("12", "pc7", "urn:s1")
    assert (first.ready, first.execute_status) == (True, 0)
    assert (second.rawstate, second.ready, second.failed) == ("RELOADING", False, False)
    assert third.execute_status is None


def test_a_status_that_cannot_be_computed_is_an_error_of_its_own(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["SliverStatus"] = [cloudlab.scripted.error(2, "Error")]
    with pytest.raises(errors.CloudlabError) as caught:
        server.sliver_status(CM)
    assert (type(caught.value), caught.value.code) == (errors.CloudlabError, 2)


@pytest.mark.parametrize("method", ["CreateSliver", "AddNodes", "DeleteNodes"])
def test_a_change_whose_reply_is_lost_is_not_repeated(
    method: str, server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script[method] = [cloudlab.scripted.drop]
    with pytest.raises(errors.LostReplyError, match=method) as caught:
        change(server, method)
    assert len(cloudlab.arguments(method)) == 1
    assert caught.value.begun is None


@pytest.mark.parametrize("trouble", ["drop", "garbage", "busy", "refused"])
@pytest.mark.parametrize(
    ("method", "needs"),
    [
        *((m, "slice") for m in ("CreateSliver", "AddNodes", "DeleteNodes", "DeleteSlice")),
        ("CreateSliver", "self"),
        ("CreateSliver", "GetKeys"),
        ("AddNodes", "Resolve"),
        ("DeleteNodes", "Resolve"),
    ],
)
def test_a_fault_before_a_change_says_that_it_was_not_begun(
    method: str, needs: str, trouble: str, server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script[needs] = [a_fault(cloudlab, trouble)]
    with pytest.raises(errors.CloudlabError) as caught:
        change(server, method)
    assert caught.value.begun is False
    assert cloudlab.arguments(method) == []


def test_a_credential_that_cannot_be_had_anew_begins_nothing(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["AddNodes"] = [expired(cloudlab)]
    cloudlab.script["slice"].append(cloudlab.scripted.drop)
    with pytest.raises(errors.LostReplyError) as caught:
        change(server, "AddNodes")
    assert caught.value.begun is False


@pytest.mark.parametrize("trouble", ["drop", "garbage", "busy", "refused", "unavailable"])
@pytest.mark.parametrize("first", ["done", "lost"])
def test_a_fault_after_a_deletion_was_asked_for_undoes_nothing(
    first: str, trouble: str, server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["DeleteSlice"] = [
        cloudlab.scripted.value(0) if first == "done" else cloudlab.scripted.drop
    ]
    cloudlab.script["Resolve"] = [cloudlab.script["Resolve"][0], a_fault(cloudlab, trouble)]
    with pytest.raises(errors.CloudlabError) as caught:
        server.delete_sliver(CM)
    assert caught.value.begun is True


def test_a_deletion_that_was_lost_and_then_is_turned_away_may_have_begun(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["DeleteSlice"] = [cloudlab.scripted.drop, a_fault(cloudlab, "unavailable")]
    with pytest.raises(errors.UnreachableError) as caught:
        server.delete_sliver(CM)
    assert caught.value.begun is True


def test_a_deletion_that_a_stop_ends_may_have_begun(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["DeleteSlice"] = [cloudlab.scripted.value(0)]
    cloudlab.sleep = lambda _: server.close()  # type: ignore[method-assign]
    server._transport._sleep = cloudlab.sleep
    with pytest.raises(errors.UnreachableError, match="stopping") as caught:
        server.delete_sliver(CM)
    assert caught.value.begun is True


def test_a_deletion_that_is_turned_away_at_once_says_so_itself(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["DeleteSlice"] = [a_fault(cloudlab, "unavailable")]
    with pytest.raises(errors.UnreachableError) as caught:
        server.delete_sliver(CM)
    assert caught.value.begun is None


def test_nothing_is_sent_to_a_cm_without_a_sliver(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["Resolve"] = [cloudlab.scripted.value({"urn": SLICE})]
    with pytest.raises(errors.NotFoundError, match="holds no sliver for us"):
        server.add_nodes(CM, {"n-2": {}})
    with pytest.raises(errors.NotFoundError, match="holds no sliver for us"):
        server.delete_nodes(CM, ["n-1"])


def test_bad_names_and_fields_are_told_before_anything_is_sent(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    with pytest.raises(errors.BadArgumentsError, match=r"AddNodes at .*: nodes\['n-2'\]\.startup: expected"):
        server.add_nodes(CM, {"n-2": {"startup": "x" * 256}})
    with pytest.raises(errors.BadArgumentsError, match=r"DeleteNodes at .*is not a client_id"):
        server.delete_nodes(CM, ["n 1"])
    assert set(cloudlab.calls()) == {"GetCredential", "Resolve"}


def test_deleting_asks_again_after_a_lost_reply_and_waits_until_the_cm_holds_nothing(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    held = cloudlab.script["Resolve"][0]
    gone = cloudlab.scripted.error(12, "Nothing here by that name")
    cloudlab.script["Resolve"] = [held, held, gone]
    cloudlab.script["DeleteSlice"] = [cloudlab.scripted.drop, cloudlab.scripted.value(0)]
    server.delete_sliver(CM)
    assert cloudlab.slept == [5, 5]
    assert len(cloudlab.arguments("DeleteSlice")) == 2


def test_deleting_what_is_not_there_is_done(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    gone = cloudlab.scripted.error(12, "No such slice here")
    cloudlab.script.update(Resolve=[gone], DeleteSlice=[gone])
    server.delete_sliver(CM)


@pytest.mark.parametrize(
    ("account", "urn", "login"),
    [
        ({"login": "bob"}, "urn:publicid:IDN+example.net+user+bob", "bob"),
        ({"urn": USER}, USER, "ada"),
        ({"urn": "urn:publicid:IDN+other.net+user+eve", "login": "eve2"}, None, "eve2"),
        ({}, USER, "ada"),
    ],
)
def test_each_account_on_new_machines_has_a_urn_and_a_login(
    server: ProtoGeniServer, cloudlab: Cloudlab, account: dict[str, str], urn: str | None, login: str
) -> None:
    keys = [{"type": "ssh", "key": KEY}]
    cloudlab.script["GetKeys"] = [cloudlab.scripted.value([{**account, "keys": keys}])]
    credential = cloudlab.credential(SLIVER, END)
    cloudlab.script["CreateSliver"] = [cloudlab.scripted.value([credential, manifest("n-1")])]
    server.create_sliver(CM, "<rspec/>")
    (arguments,) = cloudlab.arguments("CreateSliver")
    assert arguments["keys"] == [{"urn": urn or account["urn"], "login": login, "keys": keys}]


def test_an_added_machine_runs_a_command_that_no_second_shell_reads(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    cloudlab.script["AddNodes"] = [cloudlab.scripted.value(manifest("n-1", "n-2"))]
    server.add_nodes(CM, {"n-2": {"startup": "echo &quot;$HOME&quot;"}})
    (arguments,) = cloudlab.arguments("AddNodes")
    assert arguments["nodes"] == {"n-2": {"startup": "echo ZWNobyAiJEhPTUUi|base64 -d|bash"}}
    with pytest.raises(
        errors.BadArgumentsError, match=r"nodes\['n-3'\]\.startup: .*base64.* script in one of"
    ):
        server.add_nodes(CM, {"n-3": {"startup": "echo $HOME" + "x" * 200}})


def test_a_sliver_that_stays_is_said(server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["DeleteSlice"] = [cloudlab.scripted.value(0)]
    with pytest.raises(errors.CloudlabError, match="still there after 60 s"):
        server.delete_sliver(CM)


@pytest.mark.parametrize("compressed", [True, False])
def test_what_is_free_is_read_from_any_form_of_the_advertisement(
    compressed: bool, server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    text = '<rspec xmlns="http://www.geni.net/resources/rspec/3">' + "".join(
        f'<node component_name="{name}" exclusive="true"><hardware_type name="m510"/>'
        f'<sliver_type name="raw-pc"/><available now="{now}"/></node>'
        for name, now in (("pc1", "true"), ("pc2", "false"))
    ) + "</rspec>"  # fmt: skip
    value = xmlrpc.client.Binary(zlib.compress(text.encode())) if compressed else text
    cloudlab.script["DiscoverResources"] = [cloudlab.scripted.value(value)]
    assert [n.node_id for n in server.discover(CM, available=True)] == ["pc1"]
    assert [n.node_id for n in server.discover(CM, available=False)] == ["pc1", "pc2"]
    first, second = cloudlab.arguments("DiscoverResources")
    assert (first["available"], second["available"], first["rspec_version"]) == (1, 0, "3")


def test_a_survey_has_what_is_reserved_to_the_slice_besides_what_is_free(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    text = '<rspec xmlns="http://www.geni.net/resources/rspec/3">' + "".join(
        f'<node component_name="{name}" exclusive="true"><sliver_type name="raw-pc"/><available now="{now}"/>'
        "</node>"
        for name, now in (("pc1", "true"), ("pc2", "false"))
    ) + "</rspec>"  # fmt: skip
    cloudlab.script["DiscoverResources"] = [cloudlab.scripted.value(text)]
    server.find_slice()
    assert [(n.node_id, n.available) for n in server.survey(CM)] == [("pc1", True), ("pc2", False)]
    (asked,) = cloudlab.arguments("DiscoverResources")
    assert asked["available"] == 1
    assert f"<target_urn>{SLICE}" in asked["credentials"][0]


def test_a_cm_is_asked_what_is_free_with_the_credential_of_the_slice_where_there_is_one(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    empty = '<rspec xmlns="http://www.geni.net/resources/rspec/3"/>'
    cloudlab.script["DiscoverResources"] = [cloudlab.scripted.value(empty)]

    def target() -> str:
        server.discover(CM, available=True)
        text = cloudlab.arguments("DiscoverResources")[-1]["credentials"][0]
        return "slice" if f"<target_urn>{SLICE}" in text else "self"

    assert target() == "self", "nobody knows of a slice yet"
    server.find_slice()
    assert target() == "slice"
    cloudlab.clock.time = NOW + timedelta(hours=7)
    cloudlab.script["slice"] = [cloudlab.scripted.error(12, "No such slice")]
    assert target() == "self", "the slice is over"


@pytest.mark.parametrize("value", [b"no zlib", zlib.compress(b"x" * 999)[:-3], 0, "<rspec/>"])
def test_a_broken_advertisement_is_malformed(value: Any, server: ProtoGeniServer, cloudlab: Cloudlab) -> None:
    cloudlab.script["DiscoverResources"] = [cloudlab.scripted.value(value)]
    with pytest.raises(errors.MalformedReplyError, match="DiscoverResources"):
        server.discover(CM, available=True)


def test_calls_that_take_the_lock_wait_for_each_other_and_reads_do_not(
    server: ProtoGeniServer, cloudlab: Cloudlab
) -> None:
    server.find_sliver(CM)
    inside, release = threading.Event(), threading.Event()
    at_once: list[int] = []
    lock = threading.Lock()

    def slow(handler: Any, got: Any) -> None:
        with lock:
            at_once.append(1)
        inside.set()
        release.wait(10)
        with lock:
            at_once.append(-1)
        cloudlab.scripted.value(manifest("n-1"))(handler, got)

    cloudlab.script["AddNodes"] = [slow]
    threads = [threading.Thread(target=server.add_nodes, args=(CM, {f"n-{n}": {}})) for n in (2, 3)]
    for thread in threads:
        thread.start()
    assert inside.wait(5)
    assert server.find_sliver(CM) is not None
    release.set()
    for thread in threads:
        thread.join(10)
    assert at_once == [1, -1, 1, -1]


# --- settings


@pytest.fixture
def settings(pki: Any) -> Callable[..., CloudlabSettings]:
    def make(**changes: Any) -> CloudlabSettings:
        values = {
            "certificate": pki.user,
            "ca_bundle": pki.ca.path,
            "slice": "myslice",
            "cms": [{"urn": CM, "url": "https://cm.example.net:12369/protogeni/xmlrpc/cm/2.0"}],
        }
        return CloudlabSettings.model_validate({**values, **changes})

    return make


class WallClock(FakeClock):
    def now(self) -> datetime:
        return datetime.now(UTC)


def test_a_project_is_part_of_the_slices_urn(settings: Callable[..., CloudlabSettings]) -> None:
    assert connect(settings(), clock=WallClock()).slice_urn == SLICE
    in_project = connect(settings(project="LabProj"), clock=WallClock())
    assert in_project.slice_urn == "urn:publicid:IDN+example.net:labproj+slice+myslice"


def test_the_project_is_put_into_the_sas_url(
    scripted: Any, settings: Callable[..., CloudlabSettings]
) -> None:
    scripted.answers(scripted.error(3, "no"))
    url = scripted.url.replace("cm/2.0", "sa")
    for project, given in (("", url), ("proj", url), ("proj", url.replace("sa", "project/other/sa"))):
        server = connect(settings(sa_url=given, project=project, retry_for=0), clock=WallClock())
        with pytest.raises(errors.ForbiddenError):
            server.find_slice()
    assert [r.path.removeprefix("/protogeni/xmlrpc/") for r in scripted.received] == [
        "sa",
        "project/proj/sa",
        "project/other/sa",
    ]
    with pytest.raises(errors.ConfigError, match="does not end in /sa"):
        connect(settings(sa_url="https://x.net/here", project="proj"), clock=WallClock())


def test_a_certificate_without_sa_needs_the_setting(
    pki: Any, settings: Callable[..., CloudlabSettings]
) -> None:
    with pytest.raises(errors.ConfigError, match=r"stranger\.pem: names no SA; set \[cloudlab\] sa_url"):
        connect(settings(certificate=pki.stranger), clock=WallClock())


def test_public_key_files_are_checked_and_sent(
    scripted: Any, cloudlab: Cloudlab, settings: Callable[..., CloudlabSettings], tmp_path: Path
) -> None:
    public = tmp_path / "id.pub"
    public.write_text(f"{KEY} caf\xe9@home\n", encoding="utf-8")
    url = scripted.url
    server = connect(
        settings(ssh_keys=[public], sa_url=url, cms=[{"urn": CM, "url": url}], retry_for=0), clock=WallClock()
    )
    cloudlab.script["CreateSliver"] = [scripted.value([cloudlab.credential(SLIVER, END), manifest()])]
    server.create_sliver(CM, "<rspec/>")
    assert cloudlab.arguments("CreateSliver")[0]["keys"] == [
        {"urn": USER, "login": "ada", "keys": [{"type": "ssh", "key": KEY}]}
    ]
    public.write_text("-----BEGIN OPENSSH PRIVATE KEY-----")
    with pytest.raises(errors.ConfigError, match=r"id\.pub: expected one SSH public key"):
        connect(settings(ssh_keys=[public]), clock=WallClock())


@pytest.mark.parametrize(
    "changes",
    [
        {"slice": "a_b"},
        {"slice": "x" * 20},
        {"project": "under_score"},
        {"cms": []},
        {"cms": [{"urn": SLICE, "url": "https://x.net/cm"}]},
        {"cms": [{"urn": CM, "url": "http://x.net/cm"}]},
        {
            "cms": [
                {"urn": CM, "url": "https://x.net/cm"},
                {"urn": CM.replace("cl", "CL"), "url": "https://x.net/"},
            ]
        },
        {"sa_url": "ftp://x"},
        {"tls_security_level": 6},
        {"connect_timeout": "0s"},
        {"unknown": 1},
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], settings: Callable[..., CloudlabSettings]) -> None:
    with pytest.raises(ValidationError):
        settings(**changes)


def test_durations_may_have_a_unit(settings: Callable[..., CloudlabSettings]) -> None:
    assert settings(read_timeout="5m", retry_for="1m").read_timeout == 300
