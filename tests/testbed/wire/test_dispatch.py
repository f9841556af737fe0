"""What a client of the dispatcher sees: TLS, HTTP, envelope and faults (protogeni.md §1)."""

from __future__ import annotations

import http.client
import ssl
import xmlrpc.client
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from testbed import pki


def post(client, url, body, headers):
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=client.context, timeout=5)
    try:
        connection.request("POST", parts.path, body=body, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def fault(client, url, method, *params):
    with pytest.raises(xmlrpc.client.Fault) as caught:
        client.raw(url, method, *params)
    return caught.value


def with_certificate(cloudlab, identity):
    context = ssl.create_default_context(cafile=str(cloudlab.bed_file().ca_bundle))
    context.load_cert_chain(str(identity.cert_path), str(identity.key_path))
    return context


def test_a_client_certificate_is_required(shared):
    """§1.2: a missing one is a TLS error."""
    context = ssl.create_default_context(cafile=str(shared.bed_file().ca_bundle))
    with (
        pytest.raises(OSError, match=r"(?i)certificate|reset|eof"),
        xmlrpc.client.ServerProxy(shared.sa_url, context=context) as proxy,
    ):
        proxy.GetVersion()


def test_an_expired_client_certificate_is_refused(shared):
    """§1.2."""
    ends = datetime.now(UTC) - timedelta(hours=1)
    names = pki.Names("x", uris=("urn:publicid:IDN+example.net+user+ada",))
    identity = shared.identities.authority.issue("odd", names, not_after=ends)
    with (
        pytest.raises(OSError, match=r"(?i)expired|reset|eof"),
        xmlrpc.client.ServerProxy(shared.sa_url, context=with_certificate(shared, identity)) as proxy,
    ):
        proxy.GetVersion()


@pytest.mark.parametrize(
    "uris", [("urn:uuid:1",), ("urn:publicid:nonsense",), ("urn:publicid:IDN+example.net+user+eve",)]
)
def test_a_certificate_without_the_urn_of_an_account_is_fault_32500(shared, uris):
    """§1.2."""
    identity = shared.identities.authority.issue("odd", pki.Names("x", uris=uris))
    with (
        pytest.raises(xmlrpc.client.Fault) as caught,
        xmlrpc.client.ServerProxy(shared.sa_url, context=with_certificate(shared, identity)) as proxy,
    ):
        proxy.GetVersion()
    assert caught.value.faultCode == -32500


def test_the_caller_is_the_last_urn_of_the_certificate(shared, eva):
    """§1.2."""
    uris = ("urn:publicid:IDN+example.net+user+bob", "urn:publicid:IDN+example.net+user+ada", "urn:uuid:1")
    identity = shared.identities.authority.issue("odd", pki.Names("x", uris=uris))
    eva.context = with_certificate(shared, identity)
    assert "<owner_urn>urn:publicid:IDN+example.net+user+ada<" in eva.self_credential()


def test_tls_older_than_1_2_is_refused(shared, eva):
    eva.context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        eva.context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        eva.context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError, match=r"(?i)protocol|reset|eof|version"):
        eva.sa("GetVersion")


def test_success_and_error_have_all_keys(eva):
    """§1.4."""
    for answer in (eva.sa("GetVersion"), eva.cm("Resolve", {})):
        assert set(answer) == {"code", "value", "output", "protogeni_error_log", "protogeni_error_url"}
        assert answer["protogeni_error_log"].startswith("urn:publicid:IDN+")
    assert eva.sa("GetVersion")["value"] == 1.01
    assert eva.cm("Resolve", {})["output"] == "Malformed arguments: Missing arguments"


def test_get_version_of_the_cm_is_typed_by_content(eva):
    """§3.1, §1.3."""
    value = eva.cm("GetVersion", {"extra": 1})["value"]
    assert (value["api"], value["level"], value["output_rspec"]) == (2, 1, 2)
    assert value["input_rspec"] == value["ad_rspec"] == [0.1, 0.2, 2, 3, "PG 0.1", "PG 0.2", "PG 2"]


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("cm/2.0", None),
        ("cm", None),
        ("cm/1.0", -32500),
        ("sa", -32500),
        ("ch", -32500),
        ("project/x/cm", None),
    ],
)
def test_paths_choose_module_and_version(shared, eva, path, number):
    """§1.1."""
    url = shared.cms[0].url.replace("cm/2.0", path)
    if path == "project/x/cm":
        number = -32500
    if number is None:
        assert eva.raw(url, "GetVersion")["code"] == 0
    else:
        assert fault(eva, url, "GetVersion").faultCode == number


def test_an_unknown_project_is_fault_32500(shared, eva):
    """§1.1."""
    url = shared.sa_url.replace("/sa", "/project/nothere/sa")
    assert fault(eva, url, "GetVersion").faultString == "Could not resolve requested authority"


def test_an_unknown_method_is_fault_32497(shared, eva):
    """§1.5."""
    caught = fault(eva, shared.cms[0].url, "Nonsense", {})
    assert (caught.faultCode, caught.faultString) == (-32497, "no such method Nonsense")


def test_nil_is_fault_32700(shared, eva):
    """§1.3."""
    body = xmlrpc.client.dumps(({"urn": None},), "Resolve", allow_none=True)
    status, reply = post(eva, shared.sa_url, body, {"Content-Type": "text/xml"})
    assert status == 200
    assert b"-32700" in reply


def test_a_chunked_body_is_not_read(shared, eva):
    """§1.3: Content-Length is required; the answer is empty."""
    body = iter([xmlrpc.client.dumps((), "GetVersion").encode()])
    assert post(eva, shared.sa_url, body, {"Transfer-Encoding": "chunked"}) == (200, b"")


def test_every_call_is_in_the_journal_without_its_credentials(cloudlab, ada):
    ada.register()
    call = cloudlab.journal.calls("Register")[0]
    assert (call.caller, call.code) == ("urn:publicid:IDN+example.net+user+ada", 0)
    assert call.authority == "urn:publicid:IDN+example.net+authority+sa"
    assert dict(call.args) == {"urn": ada.slice_urn}
    assert "signed-credential" not in cloudlab.journal.path.read_text()


def test_stop_ends_connections_that_are_kept_open(cloudlab, ada):
    with xmlrpc.client.ServerProxy(cloudlab.sa_url, context=ada.context) as proxy:
        assert proxy.GetVersion()["code"] == 0
        cloudlab.stop()
        with pytest.raises(OSError, match=r"."):
            proxy.GetVersion()
