"""Notable events reach a person by mail: few mails, and nobody waits for them."""

import email
import socket
import ssl
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from email import policy
from pathlib import Path

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from agent.core.errors import ConfigError
from agent.core.events import Event, EventKind, Release
from agent.tell.mail import MOST_EVENTS, Mailer, MailSettings, compose, make_post
from testbed.pki import CertificateAuthority, Names

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def event(kind="failed", message="pc1 (node-1) is failed: no reason given", data=None):
    return Event(NOON, EventKind(kind), "pc1", message, data)


@pytest.fixture
def smtp(mail_server):
    """A mail server without extensions."""
    return mail_server()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return CertificateAuthority(tmp_path_factory.mktemp("mail-pki"))


@pytest.fixture
def safe(authority, mail_server):
    """A mail server that takes mail after STARTTLS and a login only."""
    identity = authority.issue("mail", Names("mail", hosts=("127.0.0.1",)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(identity.cert_path, identity.key_path)
    return mail_server(tls_context=context, require_starttls=True, auth_required=True)


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.write_text("open sesame\n")
    return str(path)


@contextmanager
def mailer(port, **settings):
    sender = Mailer(make_post(MailSettings(host="127.0.0.1", port=port, **settings), "ada@example.net"))
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
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with mailer(port, min_interval=0) as sender:
        sender.record(event())


def test_mail_leaves_encrypted_and_after_a_login(safe, authority, password_file):
    with mailer(
        safe.port, starttls=True, ca_file=str(authority.bundle), user="agent", password_file=password_file
    ) as sender:
        sender.record(event())
        safe.wait_for(1)
    assert safe.encrypted == [True]
    assert safe.logins == [(b"agent", b"open sesame")]


def test_a_mail_server_whose_certificate_is_not_good_gets_neither_password_nor_mail(safe, password_file):
    with (
        capture_logs() as logs,
        mailer(safe.port, starttls=True, user="agent", password_file=password_file) as sender,
    ):
        sender.record(event())
    assert (safe.logins, safe.mails) == ([], [])
    assert "CERTIFICATE_VERIFY_FAILED" in next(x["error"] for x in logs)


def test_a_login_that_is_refused_costs_the_mail_only(safe, authority, password_file):
    Path(password_file).write_text("wrong\n")
    settings = {"starttls": True, "ca_file": str(authority.bundle), "user": "agent"}
    with capture_logs() as logs, mailer(safe.port, password_file=password_file, **settings) as sender:
        sender.record(event())
    assert safe.mails == []
    assert [x["event"] for x in logs] == ["mail was not sent"]


def test_settings_may_change_while_mail_is_sent(smtp):
    sender = Mailer(None)
    sender.start()
    sender.record(event(message="dropped"))
    sender.use(make_post(MailSettings(host="127.0.0.1", port=smtp.port), "ada@example.net"))
    sender.record(event(message="sent"))
    sender.stop(20)
    assert [m["Subject"] for m in smtp.mails] == ["esagent: sent"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"user": "agent"}, "both or none"),
        ({"password_file": "x", "starttls": True}, "both or none"),
        ({"user": "agent", "password_file": "x"}, "not sent in the clear"),
        ({"ca_file": "x"}, "with starttls only"),
    ],
)
def test_a_password_is_never_sent_in_the_clear(settings, words):
    with pytest.raises(ValidationError, match=words):
        MailSettings(host="mail", **settings)


def test_files_and_addresses_that_will_not_do_are_named(tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("")
    for settings, words in [
        ({"user": "a", "password_file": str(tmp_path / "none")}, r"password_file: .*none: cannot be read"),
        (
            {"user": "a", "password_file": str(empty)},
            r"password_file: .*empty: expected the password in the first",
        ),
        ({"ca_file": str(tmp_path / "none")}, r"ca_file: .*none: expected PEM"),
        ({"ca_file": str(empty)}, r"ca_file: .*empty: expected PEM"),
    ]:
        with pytest.raises(ConfigError, match=r"^\[mail\] " + words):
            make_post(MailSettings(host="mail", starttls=True, **settings), "ada@example.net")
    with pytest.raises(ConfigError, match=r"\[mail\] recipient: an address is expected"):
        make_post(MailSettings(host="mail"), "")
    assert make_post(MailSettings(), "") is None


@pytest.mark.parametrize(
    ("happened", "notable"),
    [
        (event("growth_stopped"), True),
        (event("lease"), True),
        (event("blocked"), True),
        (event("certificate"), True),
        (event("release", data=Release(-4.0, None)), True),
        (event("release", data=Release(4.0, None)), False),
        (event("release"), False),
        (event("weight"), False),
        (event("add"), False),
    ],
)
def test_a_person_hears_of_what_may_need_one(happened, notable):
    assert happened.is_notable is notable


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
