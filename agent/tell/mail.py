"""Mail on notable events: few, in batches, and never in anybody's way."""

from __future__ import annotations

import smtplib
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path

import structlog
from pydantic import Field, model_validator

from agent.core import threads
from agent.core.errors import ConfigError
from agent.core.events import Event
from agent.core.settings import Duration, Section

log = structlog.get_logger()

MOST_EVENTS = 200
"""Events of one mail; what comes beyond is counted only."""
SMTP_TIMEOUT = 20.0
"""Seconds that each exchange with the mail server may take."""


class MailSettings(Section):
    """Mail to a person when something notable happens."""

    host: str = Field("", description="mail server (SMTP); empty: no mail is sent")
    port: int = Field(25, ge=1, le=65535, description="its port")
    starttls: bool = Field(
        False, description="encrypt the connection, and check the server's certificate and name"
    )
    ca_file: str = Field(
        "", description="PEM file with the CAs that the mail server must chain to; empty: the system's"
    )
    user: str = Field("", description="name to log in with; empty: no login")
    password_file: str = Field("", description="file whose first line is the password of user")
    sender: str = Field(
        "esagent@localhost", pattern=r"^[^\s@]+@[^\s@]+$", description="address of the sender"
    )
    recipient: str = Field(
        "",
        pattern=r"^([^\s@]+@[^\s@]+)?$",
        description="address it goes to; empty: the one in the user's certificate",
    )
    min_interval: Duration = Field(
        600.0, ge=0, description="time between two mails; what happens meanwhile comes in one"
    )

    @model_validator(mode="after")
    def _nothing_in_the_clear(self) -> MailSettings:
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file: both or none of them are expected")
        if self.user and not self.starttls:
            raise ValueError("user: starttls is expected too, so that the password is not sent in the clear")
        if self.ca_file and not self.starttls:
            raise ValueError("ca_file: it is used with starttls only")
        return self


def compose(events: Sequence[Event], left_out: int, *, sender: str, recipient: str) -> EmailMessage:
    """Write one mail about these events, oldest first.

    Args:
        events: at least one.
        left_out: how many more there were.
        sender: address.
        recipient: address.
    """
    mail = EmailMessage()
    # A header has one line of a fair length, whatever an event says.
    first = " ".join(events[0].message.split())[:100]
    more = f" (and {len(events) + left_out - 1} more)" if len(events) + left_out > 1 else ""
    mail["Subject"] = f"esagent: {first}{more}"
    mail["From"], mail["To"] = sender, recipient
    mail["Date"], mail["Message-ID"] = formatdate(), make_msgid(domain=sender.partition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    lines = [
        f"{e.time:%Y-%m-%dT%H:%M:%SZ}  {e.kind}  {e.subject or '-'}\n    {' '.join(e.message.split())}"
        for e in events
    ]
    if left_out:
        lines.append(f"{left_out} more events are left out; `esagent events` has them.")
    mail.set_content("\n".join(lines) + "\n")
    return mail


@dataclass(frozen=True)
class Post:
    """How mail leaves: settings that were found to be usable.

    Attributes:
        recipient: address that it goes to.
        password: for the login; "" without one.
        tls: None for a connection in the clear.
    """

    settings: MailSettings
    recipient: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None

    def send(self, mail: EmailMessage) -> None:
        """Hand one mail to the mail server.

        Raises:
            OSError: it cannot be reached, or its certificate is not good.
            smtplib.SMTPException: it refuses the login or the mail.
        """
        settings = self.settings
        with smtplib.SMTP(settings.host, settings.port, timeout=SMTP_TIMEOUT) as server:
            if self.tls is not None:
                server.starttls(context=self.tls)
            if settings.user:
                server.login(settings.user, self.password)
            server.send_message(mail)


def make_post(settings: MailSettings, address: str) -> Post | None:
    """Check the section [mail]; None where it names no mail server.

    Args:
        settings: the section.
        address: the recipient unless the settings name one; "" if there is none.

    Raises:
        ConfigError: names the key and what was expected.
    """
    if not settings.host:
        return None
    recipient = settings.recipient or address
    if not recipient:
        raise ConfigError("[mail] recipient: an address is expected: the user's certificate has none")
    return Post(settings, recipient, _password(settings.password_file), _tls(settings))


def _password(path: str) -> str:
    if not path:
        return ""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[mail] password_file: {path}: cannot be read: {error}") from error
    if not lines or not lines[0]:
        raise ConfigError(f"[mail] password_file: {path}: expected the password in the first line")
    return lines[0]


def _tls(settings: MailSettings) -> ssl.SSLContext | None:
    if not settings.starttls:
        return None
    try:
        return ssl.create_default_context(cafile=settings.ca_file or None)
    except OSError as error:
        raise ConfigError(
            f"[mail] ca_file: {settings.ca_file}: expected PEM certificates of CAs: {error}"
        ) from error


class Mailer:
    """Sends notable events, in a thread of its own; an ``EventSink``.

    Args:
        post: how mail leaves; None: events are dropped.
    """

    def __init__(self, post: Post | None) -> None:
        self._post = post
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._left_out = 0
        self._news = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def use(self, post: Post | None) -> None:
        """Send this way from now on, what is waiting too."""
        self._post = post

    def record(self, event: Event) -> None:
        """Take one event; never raises, and never waits."""
        if self._post is None or not event.is_notable:
            return
        with self._lock:
            if len(self._events) < MOST_EVENTS:
                self._events.append(event)
            else:
                self._left_out += 1
        self._news.set()

    def start(self) -> None:
        """Begin to send."""
        self._thread = threads.keep("mail", self._run, self._stop.is_set)

    def stop(self, timeout: float) -> None:
        """Send what is left, and end; wait at most ``timeout`` seconds for it."""
        self._stop.set()
        self._news.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._news.wait()
            self._news.clear()
            post = self._post
            self._send(post)
            self._stop.wait(post.settings.min_interval if post else 0)
        self._send(self._post)

    def _send(self, post: Post | None) -> None:
        with self._lock:
            events, left_out = self._events, self._left_out
            self._events, self._left_out = [], 0
        if not events or post is None:
            return
        mail = compose(events, left_out, sender=post.settings.sender, recipient=post.recipient)
        try:
            post.send(mail)
        except (OSError, smtplib.SMTPException) as error:
            # The events are in the ledger and the log: mail is a courtesy, and is not kept for later.
            log.warning("mail was not sent", host=post.settings.host, events=len(events), error=str(error))
