"""For all tests: a real mail server, property tests without a deadline of their own, one warning less."""

from __future__ import annotations

import asyncio
import email
import os
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from email import policy
from pathlib import Path

import pytest
from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import AuthResult
from hypothesis import settings

from testbed.waiting import PATIENCE

# Property tests are about results: a busy machine must not fail them. `make check` is to be over in a minute,
# and to say the same of the same code; `make test-long` looks further.
settings.register_profile("quick", deadline=None, max_examples=20, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=400)
settings.load_profile("long" if os.environ.get("ESAGENT_LONG_TESTS") else "quick")

END_AGENTS = tuple(Path(__file__).parent / name for name in ("packaging", "system"))
"""Directories whose tests kill agents and stop them."""


def pytest_collection_modifyitems(items):
    """Let a socket pass there that Python leaves open: it forgets one whose peer went before the handshake.

    The simulated Cloudlab meets that when it calls an agent that a test has just ended.
    """
    for item in items:
        if any(item.path.is_relative_to(directory) for directory in END_AGENTS):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"))


@pytest.fixture(scope="session")
def geni_python():
    """Return an interpreter with the real geni-lib, in an environment that the first to ask makes."""
    made = Path(__file__).parents[1] / "tools/setup-geni-lib"
    return subprocess.run([made], stdout=subprocess.PIPE, text=True, timeout=500, check=True).stdout.strip()


class Inbox:
    """What a mail server does with what it is sent; the hooks have aiosmtpd's names."""

    def __init__(self):
        self.mails = []
        self.logins = []
        self.encrypted = []
        self.refusing = False
        self.changed = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()

    async def handle_RCPT(self, _server, _session, envelope, address, _options):  # noqa: N802
        if self.refusing:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 fine"

    async def handle_DATA(self, _server, session, envelope):  # noqa: N802
        await asyncio.to_thread(self.gate.wait, 20)
        with self.changed:
            self.mails.append(email.message_from_bytes(envelope.content, policy=policy.default))
            self.encrypted.append(session.ssl is not None)
            self.changed.notify_all()
        return "250 taken"

    def authenticate(self, _server, _session, _envelope, _mechanism, data):
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"open sesame", handled=False)

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.mails) >= count, PATIENCE), "no mail came"


@contextmanager
def serving(**options):
    """Run a mail server that has an inbox and a port."""
    inbox = Inbox()
    server = UnthreadedController(
        inbox, "127.0.0.1", 0, loop=asyncio.new_event_loop(), authenticator=inbox.authenticate, **options
    )
    server.begin()
    inbox.port = server.server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=server.loop.run_forever)
    thread.start()
    try:
        yield inbox
    finally:
        inbox.gate.set()
        asyncio.run_coroutine_threadsafe(ended(server), server.loop).result(20)
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join(20)
        server.loop.run_until_complete(server.loop.shutdown_default_executor())
        server.loop.close()


async def ended(server):
    """Close the server, and let its sessions end."""
    server.server.close()
    await server.server.wait_closed()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@pytest.fixture
def mail_server():
    """Start mail servers with options of ``aiosmtpd.smtp.SMTP``; each is ended after the test."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(serving(**options))
