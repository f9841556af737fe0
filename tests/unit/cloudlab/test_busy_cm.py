"""A CM that is at work, or at the end of a sliver: what is repeated there, and what is not."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from agent.cloudlab.api import ComponentManager, SliceAuthority
from agent.cloudlab.identity import Identity
from agent.cloudlab.server import ProtoGeniServer
from agent.cloudlab.sliver_status import failed_nodes
from agent.cloudlab.transport import Limits, Remote, Transport
from agent.core import errors
from tests.unit.cloudlab.test_server import CM, SA, SLICE, SLIVER, Cloudlab, manifest

STATUS_2016 = {"state": "started", "status": "mixed", "utc": 1, "error": "", "details": {}}
STATUS_2021 = {**STATUS_2016, "boot_failure": 0, "shutdown": 0, "paniced": 0}
GOING = "Slice is already marked for termination, be patient"


@pytest.fixture
def cloudlab(scripted: Any, credential_text: Callable[..., str]) -> Cloudlab:
    made = Cloudlab(scripted, credential_text)
    busy = scripted.error(14, "resource is busy; try again later")
    made.script.update(AddNodes=[busy], DeleteNodes=[busy], DeleteSlice=[busy])
    return made


@pytest.fixture
def make(cloudlab: Cloudlab, user_context: ssl.SSLContext, user_identity: Identity) -> Any:
    """Make a server that repeats a call for 30 s; ``slivers`` are those of an earlier run."""

    def make(**slivers: str) -> ProtoGeniServer:
        transport = Transport(user_context, Limits(20, 20, 30, (1, 1)), sleep=cloudlab.sleep)
        url = cloudlab.scripted.url
        return ProtoGeniServer(
            identity=user_identity,
            slice_urn=SLICE,
            sa=SliceAuthority(transport, Remote(url, SA)),
            cms=[ComponentManager(transport, Remote(url, CM), "ada")],
            transport=transport,
            clock=cloudlab.clock,
            slivers={CM: slivers["known"]} if slivers else {},
        )

    return make


@pytest.mark.parametrize("method", ["AddNodes", "DeleteNodes"])
def test_a_change_is_repeated_for_a_moment_where_busy_may_last_for_a_whole_boot(
    method: str, make: Any, cloudlab: Cloudlab
) -> None:
    server = make()
    cloudlab.script["SliverStatus"] = [cloudlab.scripted.value(STATUS_2021)]
    assert server.sliver_status(CM).waits_for_boots
    with pytest.raises(errors.BusyError):
        server.add_nodes(CM, {"n-2": {}}) if method == "AddNodes" else server.delete_nodes(CM, ["n-1"])
    assert len(cloudlab.arguments(method)) == 3


def test_a_lock_of_2016_is_waited_for(make: Any, cloudlab: Cloudlab) -> None:
    server = make()
    cloudlab.script["SliverStatus"] = [cloudlab.scripted.value(STATUS_2016)]
    cloudlab.script["AddNodes"].append(cloudlab.scripted.value(manifest("n-1", "n-2")))
    assert not server.sliver_status(CM).waits_for_boots
    assert len(server.add_nodes(CM, {"n-2": {}}).nodes) == 2
    assert len(cloudlab.slept) == 1


def test_boots_are_ended_where_a_whole_sliver_is_given_back(make: Any, cloudlab: Cloudlab) -> None:
    scripted = cloudlab.scripted
    cloudlab.script["DeleteSlice"].append(scripted.value(0))
    cloudlab.script["Resolve"] = [scripted.error(12, "No such slice here")]
    make().delete_sliver(CM)
    assert [call.get("cancel") for call in cloudlab.arguments("DeleteSlice")] == [None, 1]
    assert cloudlab.slept == []


def test_no_boot_is_ended_where_the_cm_is_not_busy(make: Any, cloudlab: Cloudlab) -> None:
    cloudlab.script["DeleteSlice"] = [cloudlab.scripted.value(0)]
    cloudlab.script["Resolve"] = [cloudlab.scripted.error(12, "No such slice here")]
    make().delete_sliver(CM)
    assert [call.get("cancel") for call in cloudlab.arguments("DeleteSlice")] == [None]


@pytest.mark.parametrize("code", [16, 2])
def test_a_sliver_that_is_being_deleted_already_is_looked_at_until_it_is_gone(
    code: int, make: Any, cloudlab: Cloudlab
) -> None:
    scripted = cloudlab.scripted
    cloudlab.script["DeleteSlice"] = [scripted.error(code, GOING)]
    cloudlab.script["Resolve"] = [*cloudlab.script["Resolve"] * 2, scripted.error(12, "No such slice here")]
    make().delete_sliver(CM)
    assert len(cloudlab.arguments("DeleteSlice")) == 1
    assert len(cloudlab.slept) == 2


def test_a_change_of_such_a_sliver_tells_that_it_ends(make: Any, cloudlab: Cloudlab) -> None:
    cloudlab.script["AddNodes"] = [cloudlab.scripted.error(16, "Slice is marked for termination")]
    with pytest.raises(errors.EndingError):
        make().add_nodes(CM, {"n-2": {}})


def test_the_last_machine_goes_with_the_sliver_only(make: Any, cloudlab: Cloudlab) -> None:
    text = "Malformed arguments: Not allowed to delete all nodes from the topology!"
    cloudlab.script["DeleteNodes"] = [cloudlab.scripted.error(1, text)]
    with pytest.raises(errors.LastMachineError):
        make().delete_nodes(CM, ["n-1"])


def test_the_manifest_is_asked_for_by_the_sliver_where_a_portals_change_failed(
    make: Any, cloudlab: Cloudlab
) -> None:
    scripted = cloudlab.scripted
    failed = scripted.value({"urn": SLICE, "async_code": 26, "async_output": "could not map"})
    whole = scripted.value({"urn": SLIVER, "manifest": manifest("n-1", "n-2")})
    cloudlab.script["SliverStatus"] = [scripted.value(STATUS_2021)]
    cloudlab.script["Resolve"] = [failed, whole]
    sliver = make(known=SLIVER).find_sliver(CM)
    assert (sliver.urn, [n.client_id for n in sliver.nodes]) == (SLIVER, ["n-1", "n-2"])
    assert [call["urn"] for call in cloudlab.arguments("Resolve")] == [SLICE, SLIVER]


def test_a_sliver_that_was_seen_in_this_run_is_asked_for_too(make: Any, cloudlab: Cloudlab) -> None:
    scripted = cloudlab.scripted
    server = make()
    assert server.find_sliver(CM) is not None
    failed = scripted.value({"urn": SLICE, "async_code": 26, "async_output": "could not map"})
    cloudlab.script["SliverStatus"] = [scripted.value(STATUS_2021)]
    cloudlab.script["Resolve"] = [failed, scripted.value({"urn": SLIVER, "manifest": manifest("n-1")})]
    assert len(server.find_sliver(CM).nodes) == 1


def test_a_sliver_of_another_urn_does_not_read_as_gone(make: Any, cloudlab: Cloudlab) -> None:
    scripted = cloudlab.scripted
    failed = scripted.value({"urn": SLICE, "async_code": 26, "async_output": "could not map"})
    machine = {"component_urn": "pc1", "client_id": "n-1", "rawstate": "ISUP"}
    cloudlab.script["SliverStatus"] = [scripted.value({**STATUS_2021, "details": {"urn:s-1": machine}})]
    cloudlab.script["Resolve"] = [failed, scripted.error(12, "Nothing here by that name")]
    with pytest.raises(errors.MalformedReplyError, match="there is a sliver"):
        make(known="urn:publicid:IDN+c.net+sliver+1").find_sliver(CM)


@pytest.mark.parametrize("known", [{}, {"known": SLIVER}])
def test_a_slice_whose_machines_a_failed_change_tore_down_holds_nothing(
    known: dict[str, str], make: Any, cloudlab: Cloudlab
) -> None:
    scripted = cloudlab.scripted
    failed = scripted.value({"urn": SLICE, "async_code": 28, "async_output": "torn down"})
    cloudlab.script["SliverStatus"] = [scripted.value({**STATUS_2021, "state": "stopped"})]
    cloudlab.script["Resolve"] = [failed, *([scripted.error(12, "Nothing here")] if known else [])]
    assert make(**known).find_sliver(CM) is None


def test_no_sliver_is_made_as_an_update_of_another(make: Any, cloudlab: Cloudlab) -> None:
    """An update that fails tears all machines down (``GeniCMV2 CreateSliver``, ``isupdate``)."""
    pair = [cloudlab.credential(SLIVER), manifest("n-1")]
    cloudlab.script["CreateSliver"] = [cloudlab.scripted.value(pair)]
    make().create_sliver(CM, "<rspec/>")
    sent = cloudlab.arguments("CreateSliver")[0]
    assert not {"isupdate", "asyncmode"} & sent.keys()


@pytest.mark.parametrize(
    ("error", "named"),
    [
        ("The following nodes failed to setup: pc1 pc2", {"pc1", "pc2"}),
        ("The following nodes failed to setup: c220g5-110415\n", {"c220g5-110415"}),
        ("Internal Error: Could not setup networks", set()),
        ("", set()),
    ],
)
def test_the_machines_that_failed_are_read_from_the_error_of_the_whole(error: str, named: set[str]) -> None:
    assert failed_nodes(error) == named
