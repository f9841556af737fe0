"""Certificates as Cloudlab hands them out (protogeni.md §1.2)."""

from __future__ import annotations

import contextlib
import ssl
import xmlrpc.client
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from testbed.cloudlab.identities import UserCertificates
from testbed.pki import CertificateAuthority, urns


def test_the_download_is_an_encrypted_traditional_key_then_the_certificate(cloudlab):
    """§1.2: one PEM, 3DES."""
    bed = cloudlab.bed_file()
    data = bed.user_pem.read_bytes()
    text = data.decode()
    assert text.startswith("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-EDE3-CBC,")
    assert text.index("RSA PRIVATE KEY") < text.index("BEGIN CERTIFICATE")
    key = load_pem_private_key(data, password=bed.passphrase_file.read_bytes().strip())
    certificate = x509.load_pem_x509_certificate(data)
    assert key.public_key() == certificate.public_key()
    with pytest.raises(ValueError, match=r"(?i)password|decrypt"):
        load_pem_private_key(data, password=b"wrong")


def test_the_user_certificate_names_user_mail_uuid_and_sa(cloudlab):
    """§1.1, §1.2."""
    certificate = cloudlab.identities.users["ada"].certificate
    user, uuid = urns(certificate)
    assert user == "urn:publicid:IDN+example.net+user+ada"
    assert uuid.startswith("urn:uuid:")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.RFC822Name) == ["ada@example.net"]
    (access,) = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert access.access_method.dotted_string == "2.25.305821105408246119474742976030998643995"
    assert access.access_location.value == cloudlab.sa_url
    assert "OU=example.net.ada" in certificate.subject.rfc4514_string()


def test_keys_and_root_are_kept_between_runs(keys):
    first = CertificateAuthority(keys)
    second = CertificateAuthority(keys)
    assert first.certificate == second.certificate


def test_a_certificate_of_another_root_is_not_ours(keys, tmp_path):
    ours = CertificateAuthority(keys)
    theirs = CertificateAuthority(tmp_path / "other")
    assert ours.issued(ours.certificate)
    assert not ours.issued(theirs.certificate)


@pytest.mark.parametrize(
    ("made", "bits", "hashed", "days"),
    [
        (UserCertificates.TODAY, 2048, "sha256", 365),
        (UserCertificates.OF_2021, 2048, "sha1", 1000),
        (UserCertificates.OF_2016, 1024, "sha1", 365),
    ],
)
def test_user_certificates_are_made_as_of_their_time(start, foreign, made, bits, hashed, days):
    """protogeni-2021.md §11: OpenSSL presents a SHA-1 signature at security level 0 only."""
    bed = start(user_certificates=made)
    certificate = bed.identities.users["ada"].certificate
    assert (certificate.public_key().key_size, certificate.signature_hash_algorithm.name) == (bits, hashed)
    assert (certificate.not_valid_after_utc - datetime.now(UTC)).days + 1 == days
    files = bed.bed_file()
    context = ssl.create_default_context(cafile=str(files.ca_bundle))
    context.set_ciphers("DEFAULT:@SECLEVEL=2")
    with contextlib.ExitStack() as stack:
        if hashed == "sha1":
            stack.enter_context(pytest.raises(ssl.SSLError, match=r"(?i)ca md too weak|ee key too small"))
        context.load_cert_chain(str(files.user_pem), password=files.passphrase)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(str(files.user_pem), password=files.passphrase)
    with xmlrpc.client.ServerProxy(bed.sa_url, context=context) as sa:
        assert sa.GetCredential()["code"] == 0
