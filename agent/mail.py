"""Mail on notable events: few, in batches, and never in anybody's way."""

from __future__ import annotations

import smtplib
import ssl
import threading
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import structlog
from pydantic import Field

from agent.core.model import Event
from agent.core.settings import Duration, Section

log = structlog.get_logger()

NOTABLE = frozenset(
    {
        "blocked",
        "certificate",
        "credential",
        "down",
        "failed",
        "fatal",
        "growth_resumed",
        "growth_stopped",
        "lease",
    }
)
"""Kinds of events that a person may have to act on."""
MOST_EVENTS = 200
"""Events of one mail; what comes beyond is counted only."""
SMTP_TIMEOUT = 20.0
"""Seconds that each exchange with the mail server may take."""


class MailSettings(Section):
    """Mail to a person when something notable happens."""

    host: str = Field("", description="mail server (SMTP); empty: no mail is sent")
    port: int = Field(25, ge=1, le=65535, description="its port")
    starttls: bool = Field(
        False, description="encrypt the connection, and check the server's certificate by the system's CAs"
    )
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


def is_notable(event: Event) -> bool:
    """Tell whether a person should hear of an event: of these kinds, or a drain that missed its deadline."""
    if event.kind == "release":
        margin = event.data.get("margin_seconds")
        return isinstance(margin, int | float) and margin < 0
    return event.kind in NOTABLE


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


class Mailer:
    """Sends notable events, in a thread of its own; an ``EventSink``.

    Args:
        settings: the section [mail], with a host.
        recipient: address that the mail goes to.
    """

    def __init__(self, settings: MailSettings, recipient: str) -> None:
        self._settings = settings
        self._recipient = recipient
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._left_out = 0
        self._news = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mail", daemon=True)

    def record(self, event: Event) -> None:
        """Take one event; never raises, and never waits."""
        if not is_notable(event):
            return
        with self._lock:
            if len(self._events) < MOST_EVENTS:
                self._events.append(event)
            else:
                self._left_out += 1
        self._news.set()

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Send what is left, and end; wait at most ``timeout`` seconds for it."""
        self._stop.set()
        self._news.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._news.wait()
            self._news.clear()
            self._send()
            self._stop.wait(self._settings.min_interval)
        self._send()

    def _send(self) -> None:
        with self._lock:
            events, left_out = self._events, self._left_out
            self._events, self._left_out = [], 0
        if not events:
            return
        mail = compose(events, left_out, sender=self._settings.sender, recipient=self._recipient)
        try:
            with smtplib.SMTP(self._settings.host, self._settings.port, timeout=SMTP_TIMEOUT) as server:
                if self._settings.starttls:
                    server.starttls(context=ssl.create_default_context())
                server.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            # The events are in the ledger and the log: mail is a courtesy, and is not kept for later.
            log.warning("mail was not sent", host=self._settings.host, events=len(events), error=str(error))
