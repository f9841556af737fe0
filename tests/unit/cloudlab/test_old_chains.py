"""Chains of 1024-bit keys and SHA-1 work when the site's setting allows them, and only then."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.cloudlab.connect import connect
from agent.cloudlab.settings import CloudlabSettings
from agent.core.errors import ConfigError, LostReplyError, UnreachableError

CM = "urn:publicid:IDN+cluster.example.net+authority+cm"
END = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=6)


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def old_server(old_chain: Any, scripted: Any, credential_text: Callable[..., str]) -> Iterator[Any]:
    """An SA with an old chain, which asks callers for such a certificate."""
    server = type(scripted)(old_chain.server, old_chain.ca, security_level=0)
    server.values(credential_text(expires=f"{END:%Y-%m-%dT%H:%M:%SZ}"))
    yield server
    server.close()


@pytest.fixture
def settings(old_chain: Any) -> Callable[..., CloudlabSettings]:
    def make(url: str, **changes: Any) -> CloudlabSettings:
        values = {
            "certificate": old_chain.user,
            "passphrase_file": old_chain.passphrase_file,
            "ca_bundle": old_chain.ca,
            "slice": "myslice",
            "sa_url": url,
            "cms": [{"urn": CM, "url": url}],
            "retry_for": 0,
        }
        return CloudlabSettings.model_validate({**values, **changes})

    return make


def test_an_old_chain_works_both_ways_at_the_level_that_allows_it(
    old_server: Any, settings: Callable[..., CloudlabSettings]
) -> None:
    server = connect(settings(old_server.url, tls_security_level=0), clock=WallClock())
    assert server.find_slice() == END
    assert [r.method for r in old_server.received] == ["GetCredential", "GetCredential"]


@pytest.mark.parametrize("level", [{}, {"tls_security_level": 2}])
def test_an_old_certificate_of_ours_is_refused_at_once_at_level_2_which_is_the_default(
    old_server: Any, settings: Callable[..., CloudlabSettings], level: dict[str, int]
) -> None:
    with pytest.raises(ConfigError, match=r"ada\.pem: OpenSSL refuses .* tls_security_level"):
        connect(settings(old_server.url, **level), clock=WallClock())
    assert old_server.received == []


def test_an_old_certificate_of_ours_is_not_used_at_level_1(
    old_server: Any, settings: Callable[..., CloudlabSettings]
) -> None:
    # Newer releases of OpenSSL take our own certificate at this level, and refuse that of such a server.
    with pytest.raises((ConfigError, UnreachableError), match=r"OpenSSL refuses|too weak"):
        connect(settings(old_server.url, tls_security_level=1), clock=WallClock()).find_slice()
    assert old_server.received == []


@pytest.mark.parametrize(("level", "words"), [(2, "key too small|too weak"), (1, "too weak")])
def test_an_old_chain_of_a_server_is_refused_at_other_levels(
    pki: Any, old_server: Any, settings: Callable[..., CloudlabSettings], level: int, words: str
) -> None:
    modern = settings(old_server.url, certificate=pki.user, passphrase_file=None, tls_security_level=level)
    server = connect(modern, clock=WallClock())
    with pytest.raises(UnreachableError, match=words):
        server.find_slice()
    assert old_server.received == []


def test_a_modern_server_refuses_an_old_certificate(
    pki: Any, old_chain: Any, scripted: Any, settings: Callable[..., CloudlabSettings]
) -> None:
    strict = type(scripted)(pki.address_only, old_chain.ca, security_level=2)
    try:
        ours = settings(strict.url, ca_bundle=pki.ca.path, tls_security_level=0)
        # With TLS 1.3 the refusal may come when the call is on its way already.
        with pytest.raises((UnreachableError, LostReplyError)):
            connect(ours, clock=WallClock()).find_slice()
        assert strict.received == []
    finally:
        strict.close()
