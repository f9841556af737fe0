"""Certificates, and an SA or CM that answers as a test says."""

from __future__ import annotations

import http.server
import ipaddress
import queue
import ssl
import subprocess
import threading
import xmlrpc.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.cloudlab.identity import Identity, load_identity

SA_ACCESS = x509.ObjectIdentifier("2.25.305821105408246119474742976030998643995")
USER_URN = "urn:publicid:IDN+example.net+user+ada"
CM_URN = "urn:publicid:IDN+cluster.example.net+authority+cm"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@dataclass
class Ca:
    """A CA that signs what a test needs."""

    directory: Path
    name: str
    key: ec.EllipticCurvePrivateKey = field(init=False)
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.path = self.directory / f"{self.name}.pem"
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(self.name))
            .issuer_name(_name(self.name))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.path.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(
        self,
        name: str,
        *,
        uris: tuple[str, ...] = (),
        emails: tuple[str, ...] = (),
        hosts: tuple[str, ...] = (),
        addresses: tuple[str, ...] = (),
        sa_url: str = "",
        ends: timedelta = timedelta(days=1),
        bits: int = 0,
    ) -> Path:
        """Write key and certificate into one file; an RSA key of so many bits, or a quick one."""
        key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        names: list[x509.GeneralName] = [
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.RFC822Name, emails),
            *map(x509.DNSName, hosts),
            *(x509.IPAddress(ipaddress.ip_address(a)) for a in addresses),
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + ends)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if sa_url:
            access = x509.AccessDescription(SA_ACCESS, x509.UniformResourceIdentifier(sa_url))
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        path = self.directory / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        path.chmod(0o600)
        return path


@dataclass
class Pki:
    """The files that most tests need."""

    ca: Ca
    other_ca: Ca
    user: Path
    server: Path
    address_only: Path
    cm: Path
    stranger: Path
    foreign: Path
    unnamed: Path


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    directory = tmp_path_factory.mktemp("pki")
    ca, other = Ca(directory, "ca"), Ca(directory, "other-ca")
    return Pki(
        ca=ca,
        other_ca=other,
        user=ca.issue(
            "ada",
            uris=(USER_URN, "urn:uuid:9c0f5a52-6f1e-4a53-9e34-7f5a0f3b2c11"),
            emails=("ada@example.net",),
            sa_url="https://www.example.net:12369/protogeni/xmlrpc/sa",
            bits=2048,
        ),
        server=ca.issue("server", hosts=("localhost",), addresses=("127.0.0.1",)),
        address_only=ca.issue("address-only", addresses=("127.0.0.1",)),
        cm=ca.issue("cm", uris=("urn:publicid:IDN+example.net+authority+sa", CM_URN, "urn:uuid:1")),
        stranger=ca.issue("stranger", uris=("urn:publicid:IDN+example.net+user+eve",)),
        foreign=other.issue("foreign", uris=(CM_URN,)),
        unnamed=ca.issue("unnamed"),
    )


@pytest.fixture(scope="session")
def user_context(pki: Pki, user_identity: Identity) -> ssl.SSLContext:
    return user_identity.client_context(pki.ca.path, check_hostname=True, security_level=2)


@pytest.fixture(scope="session")
def user_identity(pki: Pki) -> Identity:
    """The user, read once: OpenSSL takes long to check an RSA key."""
    return load_identity(pki.user, now=datetime.now(UTC), environ={})


@pytest.fixture
def encrypted(pki: Pki, tmp_path: Path) -> Callable[[str], Path]:
    """Make the user's file with an encrypted key: "3des" in the traditional form, or "pkcs8"."""

    def make(form: str) -> Path:
        how = ["rsa", "-des3", "-traditional"] if form == "3des" else ["pkcs8", "-topk8"]
        key = subprocess.run(
            ["openssl", *how, "-in", pki.user, "-passout", "pass:open sesame"],
            check=True,
            capture_output=True,
            timeout=20,
        ).stdout
        assert b"ENCRYPTED" in key
        certificate = pki.user.read_bytes().partition(b"-----BEGIN CERTIFICATE")
        path = tmp_path / "encrypted.pem"
        path.write_bytes(key + certificate[1] + certificate[2])
        path.chmod(0o600)
        return path

    return make


@dataclass
class Received:
    """A request as it came over the wire."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def method(self) -> str:
        return str(xmlrpc.client.loads(self.body)[1])

    @property
    def arguments(self) -> dict[str, object]:
        return xmlrpc.client.loads(self.body)[0][0]  # type: ignore[return-value]


Answer = Callable[[http.server.BaseHTTPRequestHandler, Received], None]


def send(handler: http.server.BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "text/xml")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class ScriptedServer:
    """An HTTPS server that gives its prepared answers in turn; the last one again and again.

    It asks for a certificate of the CA, at OpenSSL's security level.
    """

    def __init__(self, certificate: Path, ca: Path, security_level: int = 2) -> None:
        self.received: list[Received] = []
        self.handshake_errors: queue.Queue[str] = queue.Queue()
        self._answers: list[Answer] = []
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                script.received.append(got)
                answers = script._answers
                answers.pop(0)(self, got) if len(answers) > 1 else answers[0](self, got)

            def log_message(self, *_args: object) -> None: ...

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def finish_request(self, request: object, client_address: object) -> None:
                try:
                    super().finish_request(request, client_address)  # type: ignore[arg-type]
                except OSError as error:
                    script.handshake_errors.put(str(error))

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers(f"DEFAULT:@SECLEVEL={security_level}")
        context.load_cert_chain(certificate)
        context.load_verify_locations(ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/protogeni/xmlrpc/cm/2.0"

    def answers(self, *answers: Answer) -> None:
        self._answers = list(answers)

    def values(self, *values: object) -> None:
        """Answer with successful envelopes."""
        self.answers(*(self.value(v) for v in values))

    @staticmethod
    def reply(reply: object) -> Answer:
        body = xmlrpc.client.dumps((reply,), methodresponse=True, allow_none=True)  # type: ignore[arg-type]
        # Otherwise a parser makes LF of CR LF, and a credential is not what it was.
        data = body.replace("\r", "&#13;").encode()
        return lambda handler, _got: send(handler, data)

    @classmethod
    def value(cls, value: object) -> Answer:
        return cls.reply({"code": 0, "value": value, "output": ""})

    @classmethod
    def error(cls, code: int, output: str, value: object = 0) -> Answer:
        return cls.reply(
            {"code": code, "value": value, "output": output, "protogeni_error_url": "https://x/log/7"}
        )

    @staticmethod
    def fault(code: int, text: str) -> Answer:
        body = xmlrpc.client.dumps(xmlrpc.client.Fault(code, text)).encode()
        return lambda handler, _got: send(handler, body)

    @staticmethod
    def page(body: bytes, status: int = 200) -> Answer:
        return lambda handler, _got: send(handler, body, status)

    @staticmethod
    def drop(handler: http.server.BaseHTTPRequestHandler, _got: Received) -> None:
        handler.close_connection = True

    @staticmethod
    def cut(handler: http.server.BaseHTTPRequestHandler, _got: Received) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"<?xml")
        handler.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def scripted(pki: Pki) -> Iterator[ScriptedServer]:
    server = ScriptedServer(pki.address_only, pki.ca.path)
    yield server
    server.close()


@dataclass
class OldChain:
    """Files as an old Cloudlab's: 1024-bit keys, signed with SHA-1, the user's one encrypted with 3DES."""

    ca: Path
    server: Path
    user: Path
    passphrase_file: Path


@pytest.fixture(scope="session")
def old_chain(tmp_path_factory: pytest.TempPathFactory) -> OldChain:
    directory = tmp_path_factory.mktemp("old-chain")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=20)

    def issue(name: str, names: str, *passphrase: str) -> Path:
        (directory / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        openssl(
            "req",
            "-newkey",
            "rsa:1024",
            "-nodes",
            "-sha1",
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
        )
        openssl(
            "x509",
            "-req",
            "-sha1",
            "-days",
            "2",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            f"{name}.ext",
            "-out",
            f"{name}.crt",
        )
        openssl("rsa", "-traditional", "-in", f"{name}.key", "-out", f"{name}.rsa", *passphrase)
        path = directory / f"{name}.pem"
        path.write_bytes((directory / f"{name}.rsa").read_bytes() + (directory / f"{name}.crt").read_bytes())
        path.chmod(0o600)
        return path

    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:1024",
        "-nodes",
        "-sha1",
        "-days",
        "2",
        "-subj",
        "/CN=old CA",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    )
    passphrase = directory / "passphrase"
    passphrase.write_text("open sesame\n")
    passphrase.chmod(0o600)
    return OldChain(
        ca=directory / "ca.pem",
        server=issue("server", "IP:127.0.0.1"),
        user=issue("ada", f"URI:{USER_URN}", "-des3", "-passout", "pass:open sesame"),
        passphrase_file=passphrase,
    )


@pytest.fixture
def credential_text() -> Callable[..., str]:
    """Write credentials as servers do; what is no concern of a client is left out."""

    def make(
        target: str = "urn:publicid:IDN+example.net+slice+myslice", expires: str = "2031-05-04T18:00:00Z"
    ) -> str:
        return (
            "<?xml version='1.0' encoding='UTF-8'?>\n"
            '<signed-credential xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
            ' <credential xml:id="ref0123"><type>privilege</type>'
            f"<owner_urn>{USER_URN}</owner_urn><target_urn>{target}</target_urn>"
            f"<expires>{expires}</expires></credential>\n"
            " <signatures>\r\n\t<Signature>…abc=</Signature></signatures></signed-credential>".replace(
                "…", ""
            )
        )

    return make
