"""The local API keeps to its document, whatever it is sent; what is published of it is made from the code."""

import json
import socket
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from agent.admin.openapi import document
from agent.admin.routes import ROUTES

ROOT = Path(__file__).parents[3]
schema = schemathesis.openapi.from_dict(json.loads(document()))


class UnixConnection(HTTPConnection):
    """Speaks HTTP on a unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(self.path))


class UnixPool(HTTPConnectionPool):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def _new_conn(self):
        return UnixConnection(self.path)


class UnixAdapter(HTTPAdapter):
    """Sends what goes to localhost to a unix socket."""

    def __init__(self, path):
        super().__init__()
        self.pool = UnixPool(path)

    def get_connection_with_tls_context(self, *_, **__):
        return self.pool

    def close(self):
        self.pool.close()


@pytest.fixture(scope="module")
def session(shared_rig):
    with requests.Session() as session:
        session.mount("http://localhost", UnixAdapter(shared_rig.socket))
        yield session


@schema.parametrize()
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_the_document_says(case, session) -> None:
    case.call_and_validate(base_url="http://localhost", session=session)


def test_every_call_is_in_the_document(shared_rig) -> None:
    paths = shared_rig.call("GET", "/v1/openapi.json")["paths"]
    assert {(path, method.upper()) for path, calls in paths.items() for method in calls} == {
        (route.path, route.method) for route in ROUTES
    }


def test_the_document_that_is_published_is_what_the_code_says() -> None:
    published = (ROOT / "docs/openapi.json").read_text()
    assert published == document(), "write it anew: .venv/bin/esagent api > docs/openapi.json"
