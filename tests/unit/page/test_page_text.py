"""What the status page says, and that no foreign text can do anything in it."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html

from agent.core.events import PastEvent
from agent.core.views import AgentView, Lapse, NodeState, NodeView
from agent.page.model import Countdown, HeldBy
from agent.page.render import MAX_EVENTS, MAX_MACHINES, render
from agent.page.words import MAX_TEXT, UNSHOWN, plain

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>' onmouseover='alert(1)",
    "\x1b[2J\x1b]0;gotcha\x07",
    "\udcff\udcfe broken UTF-8",
    "{{ view }}{% include 'page.css' %}",
    "\u202egpj.exe",
    "</td></table></main>",
    "&lt;b&gt;",
]
OURS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "main",
        "h1",
        "h2",
        "h3",
        "p",
        "br",
        "time",
    ),
    *("ul", "li", "section", "article", "svg", "line", "text", "path", "table", "caption", "thead", "tbody"),
    *("tr", "th", "td", "small", "span", "meter"),
}


def shown(page: str) -> str:
    return " ".join(html.document_fromstring(page).find("body").text_content().split())


def fill(view, text: str):
    """Put a text everywhere that foreign text can come to."""
    node = replace(view.agent.nodes[0], node=text, client_id=text, cm=text)
    agent = replace(
        view.agent,
        nodes=(node,),
        foreign=(replace(node, node_id=text, due=NOW),),
        sliver_expires={text: NOW},
        growth_stopped=text,
        last_success={text: NOW},
        lapses=(Lapse(text, NOW, text),),
    )
    job = HeldBy(text, text, text, NOW)
    return replace(
        view,
        slice_urn=text,
        agent=agent,
        hold=text,
        reasons=(text,),
        countdowns=(Countdown(text, text, text, text, NOW, NOW, (job,)),),
        events=(PastEvent(NOW, text, text, text, {}),),
        unread=text,
    )


class Tags(HTMLParser):
    """Collects the tags and attributes of a page as a browser's tokenizer finds them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_it_tells_beside_each_lease_that_nobody_renews_it(page_view) -> None:
    view = page_view()
    assert "nobody renews" not in shown(render(view))
    agent = replace(view.agent, lapses=(Lapse("", view.agent.slice_expires, "never"),))
    said = tight(shown(render(replace(view, agent=agent))))
    assert said.count(tight("2026-11-25T12:00:00Z: nobody renews it")) == 1
    assert said.count(tight("nobody renews it")) == 1


def test_it_tells_states_values_weights_drains_lease_and_events(page_view) -> None:
    said = tight(shown(render(page_view())))
    for words in (
        "urn:publicid:IDN+utah.cloudlab.us+slice+elastic",
        "As of 2026-11-22T12:00:00Z",
        "No warnings.",
        "the queue wants 2 more",
        "2 pending jobs want 2 machines",
        "pc101: revoked, due in 15 min",
        "2 min to spare",
        "7 ada is requeued 12:13:00",
        "pc100 node-100 at utah.cloudlab.us joined 0.25 40",
        "draining due in 15 min",
        "Sliver at utah.cloudlab.us in 2 d",
        "User's certificate in 300 d",
        "12:00:00 drain pc101 revoked by Cloudlab",
        "get_system_state in 0 s",
    ):
        assert tight(words) in said


def test_a_machine_that_was_asked_for_is_told_of_and_is_not_held(page_view) -> None:
    asked = NodeView("node-9", "", "node-9", "urn:cm", NodeState.REQUESTED, asked=NOW - timedelta(seconds=9))
    agent = page_view().agent
    page = render(page_view(agent=replace(agent, nodes=(*agent.nodes, asked))))
    assert "<title>esagent: 2 machines</title>" in page
    assert "node-9node-9aturn:cmrequestedaskedfor9sago" in tight(shown(page))


def test_machines_that_are_not_ours_are_told_of_quietly_and_are_none_of_ours(page_view) -> None:
    ctl = NodeView("pc8", "pc8", "ctl", "urn:cm", NodeState.FOREIGN, value=0.7)
    nfs = NodeView("pc9", "pc9", "nfs", "urn:cm", NodeState.FOREIGN)
    page = render(page_view(agent=replace(page_view().agent, foreign=(ctl, nfs))))
    said = tight(shown(page))
    assert tight("2 machines of this slice are not ours: ctl, nfs.") in said
    assert tight("ctl pc8 at urn:cm 0.70 nfs pc9 at urn:cm not told") in said
    assert "No warnings." in page
    assert "<title>esagent: 2 machines</title>" in page
    assert "not ours" not in render(page_view())


def tight(text: str) -> str:
    """Leave spaces out: cells stand beside each other without any."""
    return text.replace(" ", "")


def test_it_says_so_where_nothing_is_held_or_known(page_view) -> None:
    agent = AgentView((), 0, None, {}, {})
    said = shown(render(page_view(agent=agent, countdowns=(), events=(), history=(), reasons=())))
    for words in ("Nothing is known yet.", "No machine is held.", "No node is being emptied.", "None yet."):
        assert words in said
    assert "Slurm was not read yet" in said


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_is_text_wherever_it_stands(page_view, text: str) -> None:
    page = render(fill(page_view(), text))
    tags = Tags(page)
    assert tags.seen <= OURS
    assert not {name for name in tags.attributes if name.startswith("on")} | tags.attributes & {
        "style",
        "src",
    }
    assert page.encode()  # no half of a character is left
    assert not [c for c in page if c != "\n" and unicodedata.category(c).startswith("C")]
    assert plain(text) in html.document_fromstring(page).find("body").text_content()


@given(st.text(st.characters(), max_size=400))
def test_any_text_is_shown_and_changes_no_markup(page_view, text: str) -> None:
    assert Tags(render(fill(page_view(), text))).seen <= OURS


@given(st.text(st.characters()))
def test_plain_text_is_short_and_has_no_control_characters(text: str) -> None:
    cleaned = plain(text)
    assert len(cleaned) <= MAX_TEXT
    assert not any(unicodedata.category(c).startswith("C") for c in cleaned)
    assert plain(cleaned) == cleaned


def test_a_control_character_leaves_a_mark_and_a_line_break_a_space() -> None:
    assert plain("a\x1b[1mb\nc") == f"a{UNSHOWN}[1mb c"


def test_the_page_stays_small_however_much_there_is_to_tell(page_view) -> None:
    long = "x" * 100_000
    view = page_view()
    nodes = tuple(
        NodeView(f"pc{n}-{long}", f"pc{n}", long, long, NodeState.JOINED, 0.5, 1) for n in range(3000)
    )
    job = HeldBy(long, long, long, NOW)
    countdowns = tuple(Countdown(long, long, long, long, NOW, NOW, (job,) * 1000) for _ in range(500))
    events = tuple(PastEvent(NOW, long, long, long, {}) for _ in range(1000))
    page = render(replace(view, agent=replace(view.agent, nodes=nodes), countdowns=countdowns, events=events))
    assert len(page) < 4_000_000
    said = shown(page)
    assert f"and {3000 - MAX_MACHINES} more machines" in said
    assert "and 400 more nodes are being emptied" in said
    assert page.count('<th scope="row">xxx') > MAX_EVENTS


def test_machines_that_need_a_look_stand_first(page_view) -> None:
    view = page_view()
    nodes = tuple(
        NodeView(name, name, name, "cm", state)
        for name, state in (("a", NodeState.JOINED), ("b", NodeState.FAILED), ("c", NodeState.DRAINING))
    )
    document = html.document_fromstring(render(replace(view, agent=replace(view.agent, nodes=nodes))))
    rows = document.xpath("//section[@aria-labelledby='machines']//tbody/tr/th/text()")
    assert rows == ["b", "c", "a"]


def test_tables_and_pictures_have_names_for_those_who_do_not_see_them(page_view) -> None:
    document = html.document_fromstring(render(page_view()))
    assert document.get("lang") == "en"
    ids = {element.get("id") for element in document.xpath("//*[@id]")}
    for named in document.xpath("//*[@aria-labelledby]"):
        assert named.get("aria-labelledby") in ids
    assert document.xpath("//svg[@role='img']/title")
    assert document.xpath("//thead//th[not(@scope)]") == []
    for row in document.xpath("//tbody/tr[td[2]]"):
        assert row.xpath("th[@scope='row']")
    levels = [int(h.tag[1]) for h in document.xpath("//h1|//h2|//h3")]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_nothing_is_loaded_from_anywhere(page_view) -> None:
    page = render(page_view())
    assert not {"script", "link", "img", "iframe", "a", "form"} & Tags(page).seen
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_a_time_that_passed_is_told_as_late(page_view) -> None:
    countdown = replace(page_view().countdowns[0], due=NOW - timedelta(seconds=90))
    said = shown(render(page_view(countdowns=(countdown,))))
    assert "pc101: revoked, due 1 min 30 s ago" in said
    assert "14 min 30 s too late" in said
