"""Notable events reach a person by mail: few mails, and nobody waits for them."""

import email
import socketserver
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email import policy

import pytest

from agent.core.model import Event
from agent.mail import MOST_EVENTS, Mailer, MailSettings, compose, is_notable

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def event(kind="failed", message="pc1 (node-1) is failed: no reason given", **data):
    return Event(NOON, kind, "pc1", message, data)


class Session(socketserver.StreamRequestHandler):
    """One SMTP session (RFC 5321), as far as a client without extensions goes."""

    def handle(self):
        self.say("220 test")
        while line := self.rfile.readline():
            match line.split()[0].upper():
                case b"DATA":
                    self.say("354 go on")
                    self.server.take(b"".join(iter(self.rfile.readline, b".\r\n")))
                    self.say("250 taken")
                case b"QUIT":
                    self.say("221 bye")
                    return
                case b"RCPT" if self.server.refusing:
                    self.say("550 no such user")
                case _:
                    self.say("250 fine")

    def say(self, line):
        self.wfile.write(f"{line}\r\n".encode())


class Smtp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    refusing = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Session)
        self.port = self.server_address[1]
        self.mails = []
        self.changed = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()

    def take(self, data):
        self.gate.wait(20)
        with self.changed:
            self.mails.append(email.message_from_bytes(data, policy=policy.default))
            self.changed.notify_all()

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.mails) >= count, 20), "no mail came"


@pytest.fixture
def smtp():
    with Smtp() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join(10)


@contextmanager
def mailer(port, **settings):
    sender = Mailer(MailSettings(host="127.0.0.1", port=port, **settings), "ada@example.net")
    sender.start()
    try:
        yield sender
    finally:
        sender.stop(20)


def test_a_notable_event_is_mailed(smtp):
    with mailer(smtp.port, sender="agent@head.example.net") as sender:
        sender.record(event())
        smtp.wait_for(1)
    [mail] = smtp.mails
    assert mail["Subject"] == "esagent: pc1 (node-1) is failed: no reason given"
    assert (mail["From"], mail["To"]) == ("agent@head.example.net", "ada@example.net")
    assert mail.get_content().splitlines() == [
        "2026-11-22T12:00:00Z  failed  pc1",
        "    pc1 (node-1) is failed: no reason given",
    ]


def test_what_happens_within_the_interval_comes_in_one_mail(smtp):
    with mailer(smtp.port, min_interval="1h") as sender:
        sender.record(event())
        smtp.wait_for(1)
        for n in range(5):
            sender.record(event(message=f"number {n}"))
    assert len(smtp.mails) == 2, "the second at the end, since nothing may be lost"
    assert "number 0 (and 4 more)" in smtp.mails[1]["Subject"]
    assert "number 4" in smtp.mails[1].get_content()


def test_nobody_waits_for_a_slow_mail_server_and_memory_is_bounded(smtp):
    smtp.gate.clear()
    with mailer(smtp.port, min_interval=0) as sender:
        began = time.monotonic()
        for n in range(MOST_EVENTS * 3):
            sender.record(event(message=f"number {n}"))
        assert time.monotonic() - began < 15, "a mail server's answer takes longer here"
        smtp.gate.set()
    told = sum(m.get_content().count("    number") for m in smtp.mails)
    assert told <= MOST_EVENTS * 2
    assert any("left out" in m.get_content() for m in smtp.mails)


def test_a_mail_server_that_refuses_or_is_gone_costs_the_mail_only(smtp):
    smtp.refusing = True
    with mailer(smtp.port, min_interval=0) as sender:
        sender.record(event())
    assert smtp.mails == []
    smtp.server_close()
    with mailer(smtp.port, min_interval=0) as sender:
        sender.record(event())


@pytest.mark.parametrize(
    ("happened", "notable"),
    [
        (event("growth_stopped"), True),
        (event("lease"), True),
        (event("blocked"), True),
        (event("certificate"), True),
        (event("release", margin_seconds=-4.0), True),
        (event("release", margin_seconds=4.0), False),
        (event("release"), False),
        (event("weight"), False),
        (event("add"), False),
    ],
)
def test_a_person_hears_of_what_may_need_one(happened, notable):
    assert is_notable(happened) is notable


def test_what_is_not_notable_is_not_mailed(smtp):
    with mailer(smtp.port) as sender:
        sender.record(event("weight"))
    assert smtp.mails == []


def test_hostile_text_makes_no_header_of_its_own():
    text = "x\r\nBcc: eve@example.net\n.\n" + "é" * 5000
    mail = compose([event(message=text)], 0, sender="a@b", recipient="c@d")
    assert mail["Bcc"] is None
    assert len(mail["Subject"]) < 150
    assert email.message_from_bytes(bytes(mail), policy=policy.default)["Bcc"] is None
