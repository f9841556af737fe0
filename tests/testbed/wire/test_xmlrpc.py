"""XML-RPC as Frontier speaks it (protogeni.md §1.3)."""

from __future__ import annotations

import contextlib
import xmlrpc.client

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.cloudlab.answer import FaultError
from testbed.cloudlab.wire.xmlrpc import (
    Opaque,
    ReplyError,
    decode_call,
    decode_reply,
    encode_response,
    flag,
    truthy,
)


def call(value):
    return (
        f"<methodCall><methodName>M</methodName><params><param>{value}</param></params></methodCall>".encode()
    )


def decoded(value):
    return decode_call(call(f"<value>{value}</value>"))[1][0]


def replied(value):
    return xmlrpc.client.loads(encode_response(value))[0][0]


@pytest.mark.parametrize(
    "sent", ["<int>3</int>", "<i4>3</i4>", "<string>3</string>", "<double>3</double>", "3"]
)
def test_scalars_of_every_type_are_the_same_text(sent):
    assert decoded(sent) == "3"


def test_a_boolean_is_true_even_for_0_but_for_methods_that_unwrap_it():
    no = decoded("<boolean>0</boolean>")
    assert truthy(no)
    assert not flag(no)
    assert flag(decoded("<boolean>1</boolean>"))
    assert not truthy(decoded("<int>0</int>"))


def test_structs_and_arrays_are_read():
    sent = xmlrpc.client.dumps(({"a": [1, "two", {"b": True}], "c": ""},), "M").encode()
    assert decode_call(sent) == ("M", [{"a": ["1", "two", {"b": Opaque("boolean", "1")}], "c": ""}])


@pytest.mark.parametrize(
    "body",
    [
        call("<value><nil/></value>"),
        call("<value><i8>3</i8></value>"),
        b"",
        b"not xml",
        b"<methodResponse/>",
        b"<methodCall><methodName/></methodCall>",
        b'<!DOCTYPE x [<!ENTITY a "b">]>' + call("<value>&a;</value>"),
    ],
)
def test_what_cannot_be_decoded_is_fault_32700(body):
    with pytest.raises(FaultError) as caught:
        decode_call(body)
    assert caught.value.number == -32700


def test_non_ascii_bytes_are_deleted_before_parsing():
    assert decoded("<string>gr\u00fcn\u20ac</string>") == "grn"


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("12", 12), ("-7", -7), (0, 0), ("0", 0), ("0.1", 0.1), (".5", 0.5), (1.0, 1), (0.25, 0.25),
        ("1e5", 1e5),
        ("pc7", "pc7"), ("", ""), ("1.2.3", "1.2.3"), ("a<b&c", "a<b&c"), (True, 1),
        (["1", {"a": "2"}], [1, {"a": 2}]),
    ],
)  # fmt: skip
def test_replies_are_typed_by_content(value, seen):
    got = replied(value)
    assert (got, type(got)) == (seen, type(seen))


@given(st.text())
def test_any_text_gives_a_reply_that_parses(text):
    xmlrpc.client.loads(encode_response({"value": text}))


@given(st.binary(max_size=200))
def test_any_body_is_decoded_or_a_fault(body):
    with contextlib.suppress(FaultError):
        decode_call(body)


@pytest.mark.parametrize(
    "body", [b"", b"<html/>", b"<methodResponse/>", xmlrpc.client.dumps(xmlrpc.client.Fault(1, "x")).encode()]
)
def test_a_callback_reply_that_is_none_is_an_error(body):
    with pytest.raises(ReplyError):
        decode_reply(body)
