import xmlrpc.client

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cloudlab.envelope import fault_error, open_envelope, outcome
from agent.cloudlab.refusals import blocking_machine, unreserved_machine
from agent.core import errors

CALL = {"method": "AddNodes", "authority": "urn:cm"}


def failure(code: object, output: object = "", value: object = 0) -> errors.CloudlabError:
    with pytest.raises(errors.CloudlabError) as caught:
        open_envelope({"code": code, "value": value, "output": output}, **CALL)
    return caught.value


@pytest.mark.parametrize(
    ("code", "output", "expected"),
    [
        (1, "Malformed arguments: Missing arguments", errors.BadArgumentsError),
        (
            1,
            "Malformed arguments: invalid credential (expired at 2031-05-04T18:00:00Z)",
            errors.CredentialExpiredError,
        ),
        (1, "Already have node-1 in the topology!", errors.AlreadyExistsError),
        (1, "No such node node-1 in the topology!", errors.NotFoundError),
        (1, "No such slice here", errors.NotFoundError),
        (1, "No such LAN", errors.BadArgumentsError),
        (1, "Physical node pc7 is not available", errors.InsufficientNodesError),
        (1, "Physical node pc7 does not exist", errors.BadArgumentsError),
        (2, "Error", errors.CloudlabError),
        (2, "urn:publicid:IDN+a+slice+s already a registered slice", errors.AlreadyExistsError),
        (2, "URN (pc7) is not available", errors.CloudlabError),
        (3, "This is not your credential", errors.ForbiddenError),
        (7, "Must delete existing slice first", errors.AlreadyExistsError),
        (7, "Slice has expired", errors.RefusedError),
        (11, "External users temporarily denied", errors.RefusedError),
        (12, "No such Slice", errors.NotFoundError),
        (14, "slice is busy; try again later", errors.BusyError),
        (17, "Already Exists", errors.AlreadyExistsError),
        (26, "long log", errors.InsufficientNodesError),
        (503, "down", errors.UnreachableError),
        (99, "new", errors.CloudlabError),
        ("14", "digits in a string", errors.BusyError),
    ],
)
def test_each_code_is_an_error_of_its_own(
    code: object, output: str, expected: type[errors.CloudlabError]
) -> None:
    error = failure(code, output)
    assert type(error) is expected
    assert output in str(error)
    assert (error.method, error.authority, error.code) == ("AddNodes", "urn:cm", int(str(code)))


def test_a_success_gives_the_value_and_tolerates_missing_and_extra_keys() -> None:
    assert open_envelope({"code": 0, "value": "x", "output": "", "more": 1}, **CALL) == "x"
    assert open_envelope({"code": "0"}, **CALL) == 0


def test_the_mappers_words_in_value_come_first_and_the_log_is_cut() -> None:
    error = failure(26, "line\n" * 1000, "Could not map to resources: not enough m510")
    assert "Could not map to resources: not enough m510; line line" in str(error)
    assert len(str(error)) < 800


def test_words_far_inside_a_long_message_still_count() -> None:
    assert type(failure(1, "x " * 1000 + "(expired at 2031)")) is errors.CredentialExpiredError


def test_the_servers_log_is_in_the_error() -> None:
    reply = {
        "code": 2,
        "output": "Error",
        "protogeni_error_log": "urn:l",
        "protogeni_error_url": "https://l/7",
    }
    with pytest.raises(errors.CloudlabError, match="log https://l/7"):
        open_envelope(reply, **CALL)
    del reply["protogeni_error_url"]
    with pytest.raises(errors.CloudlabError, match="log urn:l"):
        open_envelope(reply, **CALL)


@given(
    st.none() | st.text() | st.lists(st.integers()) | st.dictionaries(st.text(), st.text()) | st.booleans()
    | st.just({"code": True}) | st.just({"code": "x"}) | st.just({"code": None}) | st.just({"code": 0.5})
)  # fmt: skip
def test_what_is_no_envelope_is_malformed(reply: object) -> None:
    with pytest.raises(errors.MalformedReplyError):
        open_envelope(reply, **CALL)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (503, errors.UnreachableError),
        ("503", errors.UnreachableError),
        (-32600, errors.CloudlabError),
        (-32497, errors.CloudlabError),
    ],
)
def test_only_fault_503_says_that_nothing_was_done(
    code: int | str, expected: type[errors.CloudlabError]
) -> None:
    error = fault_error(xmlrpc.client.Fault(code, "words"), **CALL)  # type: ignore[arg-type]
    assert type(error) is expected
    assert error.code == int(code)


@pytest.mark.parametrize(
    ("refusal", "machine"),
    [
        ("Refused cause pc100 is pre-reserved.", "pc100"),
        ("RenewSlice at urn:cm: Refused cause ms-1.2 is sched-reserved. (code 7)", "ms-1.2"),
        ("such a short life for a sliver?", None),
        ("Refused cause $(reboot) is pre-reserved.", None),
        ("", None),
    ],
)
def test_the_machine_that_blocks_is_read_from_the_refusal(refusal: str, machine: str | None) -> None:
    assert blocking_machine(refusal) == machine
    error = failure(7, refusal)
    assert getattr(error, "node_id", None) == machine
    assert isinstance(error, errors.RefusedError)
    assert isinstance(error, errors.PromisedError) == (machine is not None)
    assert not isinstance(failure(2, refusal), errors.PromisedError), "only a refusal is one"


@pytest.mark.parametrize(
    ("refusal", "node_id"),
    [
        ("AddNodes at x: urn:publicid:IDN+example.net+node+pc7 (pc7) is not available (code 2)", "pc7"),
        ("AddNodes at x: Physical node pc7 is not available (code 1)", None),
        ("urn:publicid:IDN+example.net+node+pc7 (pc8) is not available", None),
        ("Error", None),
    ],
)
def test_the_machine_that_is_not_ours_is_the_one_that_the_refusal_names_by_its_urn(
    refusal: str, node_id: str | None
) -> None:
    assert unreserved_machine(refusal) == node_id
    error = failure(2, refusal)
    assert getattr(error, "node_id", None) == node_id
    assert isinstance(error, errors.UnreservedError) == (node_id is not None)
    assert not isinstance(failure(1, refusal), errors.UnreservedError), "with another code it says else"


def test_every_error_has_its_word() -> None:
    # The figures tell it as the code does, which has no name.
    kinds = set(errors.CloudlabError.__subclasses__()) - {errors.UnreservedError}
    assert len({outcome(kind("")) for kind in [*kinds, errors.CloudlabError]}) == len(kinds) + 1
    assert outcome(errors.UnreservedError("", node_id="pc7")) == outcome(errors.CloudlabError(""))
    assert outcome(errors.PromisedError("", node_id="pc7")) == outcome(errors.RefusedError(""))
