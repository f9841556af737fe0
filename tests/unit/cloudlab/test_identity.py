import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.cloudlab.identity import load_identity
from agent.core.errors import ConfigError

NOW = datetime.now(UTC)


def test_the_certificate_tells_who_we_are_and_where_the_sa_is(pki: Any) -> None:
    identity = load_identity(pki.user, now=NOW, environ={})
    assert str(identity.urn) == "urn:publicid:IDN+example.net+user+ada"
    assert identity.email == "ada@example.net"
    assert identity.sa_url == "https://www.example.net:12369/protogeni/xmlrpc/sa"
    assert NOW < identity.expires < NOW + timedelta(days=2)
    assert identity.warnings == ()


def test_the_last_public_urn_is_the_callers(pki: Any) -> None:
    assert str(load_identity(pki.cm, now=NOW, environ={}).urn).endswith("cluster.example.net+authority+cm")


@pytest.mark.parametrize("form", ["3des", "pkcs8"])
def test_an_encrypted_key_opens_with_the_passphrase(
    form: str, pki: Any, encrypted: Callable[[str], Path], tmp_path: Path
) -> None:
    path = encrypted(form)
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    from_file = load_identity(path, now=NOW, passphrase_file=secret, environ={})
    from_variable = load_identity(path, now=NOW, environ={"ESAGENT_PASSPHRASE": "open sesame"})
    for identity in (from_file, from_variable):
        assert "sesame" not in repr(identity)
        identity.client_context(pki.ca.path, check_hostname=True, security_level=2)


@pytest.mark.parametrize("form", ["3des", "pkcs8"])
def test_a_wrong_or_missing_passphrase_is_said(form: str, encrypted: Callable[[str], Path]) -> None:
    path = encrypted(form)
    with pytest.raises(ConfigError, match=r"encrypted\.pem: expected a PEM private key that the passphrase"):
        load_identity(path, now=NOW, environ={"ESAGENT_PASSPHRASE": "wrong"})
    with pytest.raises(ConfigError, match=r"encrypted: set passphrase_file, or the variable ESAGENT_PASS"):
        load_identity(path, now=NOW, environ={})


def test_a_passphrase_that_is_not_needed_does_no_harm(pki: Any) -> None:
    assert load_identity(pki.user, now=NOW, environ={"ESAGENT_PASSPHRASE": "x"}).email


def test_the_key_may_be_in_a_file_of_its_own(pki: Any, tmp_path: Path) -> None:
    head, begin, rest = pki.user.read_bytes().partition(b"-----BEGIN CERTIFICATE")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(begin + rest)
    key.write_bytes(head)
    key.chmod(0o640)
    identity = load_identity(certificate, now=NOW, key=key, environ={})
    assert identity.client_context(pki.ca.path, check_hostname=True, security_level=2).check_hostname
    assert identity.warnings == (f"{key}: other users can read it; chmod 600 it",)
    with pytest.raises(ConfigError, match=r"cert\.pem: expected a PEM private key, found none"):
        load_identity(certificate, now=NOW, environ={})


def test_faults_of_files_name_the_file_and_what_was_expected(pki: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    broken = tmp_path / "broken.pem"
    broken.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"certificate": tmp_path / "none.pem"}, r"none\.pem: expected a PEM file .*: No such file"),
        ({"certificate": tmp_path}, "Is a directory"),
        ({"certificate": empty}, r"empty\.pem: expected a PEM certificate"),
        ({"certificate": broken}, r"broken\.pem: expected a PEM certificate"),
        ({"certificate": pki.user, "key": empty}, r"empty\.pem: expected a PEM private key, found none"),
        ({"certificate": pki.user, "key": pki.cm}, r"cm\.pem: the key does not belong to the certificate"),
        ({"certificate": pki.user, "passphrase_file": tmp_path / "pw"}, r"pw: expected a file whose first"),
        ({"certificate": pki.user, "passphrase_file": empty}, r"empty\.pem: expected the passphrase"),
        ({"certificate": pki.unnamed}, r"unnamed\.pem: expected a user certificate of Cloudlab: no urn"),
    ]
    for arguments, message in cases:
        with pytest.raises(ConfigError, match=message):
            load_identity(arguments.pop("certificate"), now=NOW, environ={}, **arguments)


def test_a_certificate_outside_its_time_is_refused(pki: Any) -> None:
    with pytest.raises(ConfigError, match=r"ada\.pem: the certificate expired at .*Z; download a new one"):
        load_identity(pki.user, now=NOW + timedelta(days=3), environ={})
    with pytest.raises(ConfigError, match=r"not valid before .*clock right"):
        load_identity(pki.user, now=NOW - timedelta(days=5), environ={})


def test_the_context_trusts_the_bundle_alone_and_speaks_tls_1_2_at_least(pki: Any, tmp_path: Path) -> None:
    identity = load_identity(pki.user, now=NOW, environ={})
    context = identity.client_context(pki.ca.path, check_hostname=False, security_level=2)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.check_hostname
    assert len(context.get_ca_certs()) == 1
    for content in (None, b"", b"garbage"):
        bundle = tmp_path / "bundle.pem"
        if content is not None:
            bundle.write_bytes(content)
        with pytest.raises(ConfigError, match=r"bundle\.pem: expected"):
            identity.client_context(bundle, check_hostname=True, security_level=2)


def test_an_old_small_key_needs_a_lower_security_level(pki: Any) -> None:
    old = pki.ca.issue("old", uris=("urn:publicid:IDN+example.net+user+old",), bits=1024)
    identity = load_identity(old, now=NOW, environ={})
    assert (identity.age.words, identity.age.level) == ("a key of 1024 bits", 1)
    mend = (
        r"old\.pem: OpenSSL refuses .* tls_security_level 2: .*: set \[cloudlab\] tls_security_level = 1, or"
    )
    with pytest.raises(ConfigError, match=mend):
        identity.client_context(pki.ca.path, check_hostname=True, security_level=2)
    identity.client_context(pki.ca.path, check_hostname=True, security_level=1)


def test_an_old_chain_tells_which_level_presents_it(old_chain: Any) -> None:
    now = datetime.now(UTC)
    identity = load_identity(old_chain.user, now=now, passphrase_file=old_chain.passphrase_file, environ={})
    assert identity.age.words == "a key of 1024 bits and a SHA-1 signature"
    for level in (1, 2):
        assert "set [cloudlab] tls_security_level = 0, or download" in identity.age.advice(level)
    assert identity.age.advice(0) == ""
    identity.present(0)
    with pytest.raises(
        ConfigError, match=r"tls_security_level 2: .* set \[cloudlab\] tls_security_level = 0"
    ):
        identity.present(2)


def test_a_certificate_of_today_needs_no_advice(pki: Any) -> None:
    for path in (pki.user, pki.stranger):
        assert load_identity(path, now=NOW, environ={}).age.advice(2) == ""
