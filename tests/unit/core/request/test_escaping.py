"""Text that a helper escaped itself is told from text that it did not."""

from xml.sax.saxutils import escape as sax_escape
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import CapturingLogger

from agent.core.request import escaping
from agent.core.request.escaping import as_meant, escape, meant

COMMANDS = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    st.lists(st.sampled_from(["&", "&amp;", "&lt;", "&#38;", "amp;", "<", "'", '"', ">", "a "])).map("".join),
)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a &amp;&amp; b", "a && b"),
        ("test &apos;a&apos; &lt; b", "test 'a' < b"),
        ("echo &quot;a&quot; &gt; b", 'echo "a" > b'),
        ("echo a > b; c &amp; d", "echo a > b; c & d"),
        ("a &#38;&#x26; b", "a && b"),
        ("echo &amp;lt;", "echo &lt;"),
    ],
)
def test_what_has_an_entity_and_may_stand_in_single_quotes_was_escaped(text, read):
    assert meant(text) == read


@pytest.mark.parametrize(
    "text",
    [
        "a && b",
        "a & b",
        "run&",
        "echo 'x &amp; y'",
        "cat &lt; a < b",
        "a &amp; b && c",
        "a &ampb; c",
        "echo &nbsp;",
        "echo &#0;",
        "echo & amp;",
        "echo a; b",
        "",
        "a &amp;\nb",
        "a &amp; \udcff",
    ],
)
def test_all_other_text_is_meant_as_it_stands(text):
    assert meant(text) == text


@given(COMMANDS)
def test_text_that_was_escaped_arrives_as_it_was_meant_however_it_was_escaped(text):
    assert meant(escape(text)) == text
    assert meant(sax_escape(text, {"'": "&apos;"})) == text
    assert meant(sax_escape(text, {"'": "&#39;", '"': "&quot;"})) == text
    if "'" not in text:
        # Without its quotes: the server has some.
        assert meant(quoteattr(text)[1:-1]) == text


@given(COMMANDS)
def test_any_text_can_be_handed_on_as_it_is(text):
    assert meant(as_meant(text)) == text


@given(COMMANDS)
def test_only_text_that_may_be_meant_otherwise_is_changed_for_that(text):
    assert as_meant(text) == (text if meant(text) == text else escape(text))


def test_it_is_said_once_of_each_text(monkeypatch):
    log = CapturingLogger()
    monkeypatch.setattr(escaping, "log", log)
    for text in ("one &amp; 1", "one &amp; 1", "two &amp; 2", "three & 3"):
        meant(text)
    assert [call.kwargs["text"] for call in log.calls] == ["one &amp; 1", "two &amp; 2"]
