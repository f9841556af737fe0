import math
import xmlrpc.client
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cloudlab import wire
from agent.cloudlab.times import format_time, parse_time

ascii_text = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\t\n\r"))
REPLY = b"<methodResponse><params><param>%s</param></params></methodResponse>"
DEEP = REPLY % (b"<value><array><data>" * 100 + b"</data></array></value>" * 100)
leaves = ascii_text | st.integers(-(2**31), 2**31 - 1) | st.floats(allow_nan=False, allow_infinity=False)
sendable = st.recursive(leaves, lambda x: st.lists(x) | st.dictionaries(ascii_text, x), max_leaves=8)
anything = st.recursive(
    leaves
    | st.none()
    | st.booleans()
    | st.text()
    | st.integers()
    | st.floats()
    | st.datetimes()
    | st.binary(),
    lambda x: st.lists(x) | st.dictionaries(st.text() | st.integers(), x),
    max_leaves=8,
)


@given(st.dictionaries(ascii_text, sendable, max_size=5))
def test_arguments_arrive_as_they_were_sent(arguments: dict[str, object]) -> None:
    method, values = wire.decode_call(wire.encode_call("M", arguments))
    assert (method, values) == ("M", (arguments,))


def _forbidden(value: object) -> bool:
    if isinstance(value, dict):
        return any(not isinstance(k, str) or _forbidden(k) or _forbidden(v) for k, v in value.items())
    if isinstance(value, list):
        return any(map(_forbidden, value))
    if isinstance(value, str):
        return not value.isascii()
    return type(value) not in {int, float} or (isinstance(value, float) and not math.isfinite(value))


@given(st.dictionaries(st.text(), anything, max_size=5))
def test_arguments_never_contain_forbidden_types(arguments: dict[str, object]) -> None:
    try:
        sent = wire.encode_call("M", arguments)
    except ValueError:
        return
    assert sent.isascii()
    assert not any(tag in sent for tag in (b"<boolean>", b"<nil/>", b"<dateTime", b"<base64>", b"<i8>"))
    assert not _forbidden(xmlrpc.client.loads(sent)[0][0])


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"a": None}, r"arguments\['a'\]: NoneType"),
        ({"a": [1, True]}, r"arguments\['a'\]\[1\]: bool"),
        ({"a": {"b": datetime.now(UTC)}}, r"arguments\['a'\]\['b'\]: datetime"),
        ({"a": "caf\xe9"}, r"arguments\['a'\]: 'é' is not printable ASCII"),
        ({"a": "x\0"}, "printable ASCII"),
        ({"a": 2**31}, "32 bits"),
        ({"a": b"x"}, "bytes"),
        ({"a": float("nan")}, "not a number"),
        ({"a": {1, 2}}, "set cannot be sent"),
        ({"a": {"é": 1}}, "key 'é'"),
    ],
)
def test_a_bad_argument_is_named_with_its_place(arguments: dict[str, object], place: str) -> None:
    with pytest.raises(ValueError, match=place):
        wire.encode_call("M", arguments)


def test_a_carriage_return_reaches_the_server_as_one() -> None:
    assert wire.decode_call(wire.encode_call("M", {"credential": "a\r\nb"}))[1] == ({"credential": "a\r\nb"},)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"<html><body>Sorry</body></html>",
        b"<html><body>Sorry<br></body></html>",
        b"<?xml version='1.0'?><methodResponse/>",
        b"<methodResponse><params></params></methodResponse>",
        REPLY % b"<value><int>x</int></value>",
        REPLY % b"<value><struct><member><value/></member></struct></value>",
        REPLY % b"<value>1</value></param><param><value>2</value>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + REPLY % b"<value>&a;</value>",
        b"<methodResponse><fault><value>none</value></fault></methodResponse>",
        b"<methodCall><methodName>x</methodName><params><param><value>1</value></param></params></methodCall>",
        DEEP,
    ],
)
def test_what_is_no_reply_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"XML-RPC|deep"):
        wire.decode_reply(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_call_or_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="XML-RPC"):
        wire.decode_call(data)


@given(
    st.lists(
        st.sampled_from(
            b"<methodCall> </methodCall> <methodName>x</methodName> <params> </params> <param> </param> "
            b"<value> </value> <struct> </struct> <member> </member> <name>n</name> <array> </array> "
            b"<data> </data> <int>1</int> <int>z</int> <nil/> <fault> </fault> <double>x</double> "
            b"<base64>!</base64> <dateTime.iso8601>1</dateTime.iso8601> <bigdecimal>x</bigdecimal> "
            b"<boolean>7</boolean>".split()
        ),
        max_size=16,
    )
)
def test_odd_documents_end_in_a_value_error_and_nothing_else(parts: list[bytes]) -> None:
    try:
        wire.decode_call(b"<methodCall><methodName>x</methodName>" + b"".join(parts) + b"</methodCall>")
    except ValueError:
        return


def test_a_reply_never_holds_nil_or_a_boolean() -> None:
    reply = wire.encode_reply({"code": 0, "value": [{"a": None, "b": True, "c": 2**40}], "output": None})
    assert wire.decode_reply(reply) == {
        "code": 0,
        "value": [{"a": "", "b": 1, "c": str(2**40)}],
        "output": "",
    }


@pytest.mark.parametrize(
    "text",
    [
        "2031-05-04T18:00:00Z",
        "2031-05-04T18:00:00 GMT",
        "2031-05-04 18:00:00",
        "2031-05-04T18:00:00",
        "20310504T18:00:00",
        "2031-05-04T18:00:00.731Z",
    ],
)
def test_every_form_of_a_date_is_read_as_utc(text: str) -> None:
    assert parse_time(text) == datetime(2031, 5, 4, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "0", "1935770400", "2031-05-04", "2031-05-04T18:00:00+02:00", "2031-13-04T18:00:00Z"]
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time such as|month must be"):
        parse_time(text)


def test_dates_go_out_in_whole_seconds_of_utc() -> None:
    zone = timezone(timedelta(hours=2))
    assert format_time(datetime(2031, 5, 4, 20, 0, 0, 999_999, tzinfo=zone)) == "2031-05-04T18:00:00Z"
    with pytest.raises(ValueError, match="no time zone"):
        format_time(datetime(2031, 5, 4))  # noqa: DTZ001


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_date_survives_writing_and_reading(time: datetime) -> None:
    assert parse_time(format_time(time)) == time.replace(microsecond=0)
