"""For the unit tests: servers that end at once."""

from __future__ import annotations

import pytest
from cheroot.server import HTTPServer


@pytest.fixture(scope="session", autouse=True)
def _servers_end_at_once():
    """cheroot sees that it is to stop only when it looks for connections to end: every half second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPServer, "expiration_interval", 0.02)
        yield
