"""A site as docs/install.md leaves it, in real files, and looks at it by processes of other users."""

from __future__ import annotations

import codecs
import json
import os
import pwd
import socket
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from agent.check.everything import check_everything
from agent.check.program import become, seen_by
from agent.check.user import User, caller, named
from agent.core.ports import SystemClock
from testbed.pki import CertificateAuthority, Identity, Names

CM = "urn:publicid:IDN+cluster.example.net+authority+cm"
CONF = """\
[cloudlab]
certificate = "{etc}/cloudlab.pem"
passphrase_file = "{etc}/passphrase"
ca_bundle = "{etc}/cloudlab-ca.pem"
slice = "elastic"
ssh_keys = ["{etc}/id_ed25519.pub"]
[[cloudlab.cms]]
urn = "{cm}"
url = "https://127.0.0.1:9/cm"
[callback]
certificate = "{etc}/callback.pem"
key = "{etc}/callback.key"
ca_bundle = "{etc}/callers-ca.pem"
allowed_urns = ["{cm}"]
[ssh]
key = "{etc}/id_ed25519"
known_hosts = "{var}/known_hosts"
[demand]
node_cpus = 2
node_memory = 1000
max_nodes = 1
[admin]
socket = "{var}/admin.sock"
[ledger]
path = "{var}/ledger.db"
"""
SECRETS = ("cloudlab.pem", "passphrase", "callback.key", "id_ed25519")


@pytest.fixture(scope="session")
def issued(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Identity, Identity]:
    """The CA, the user's certificate and the callback server's."""
    authority = CertificateAuthority(tmp_path_factory.mktemp("ca"))
    urn, sa = "urn:publicid:IDN+example.net+user+ada", "https://127.0.0.1:9/sa"
    user = authority.issue("user", Names("ada", uris=(urn,), emails=("ada@example.net",), sa_url=sa))
    return authority.bundle.read_bytes(), user, authority.issue("server", Names("head", hosts=("127.0.0.1",)))


@dataclass(frozen=True)
class Site:
    """The files of a head node."""

    root: Path

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def var(self) -> Path:
        return self.root / "var"

    @property
    def conf(self) -> Path:
        return self.etc / "agent.conf"

    def add(self, section: str, line: str) -> None:
        """Set one more thing in agent.conf."""
        self.conf.write_text(self.conf.read_text().replace(f"[{section}]\n", f"[{section}]\n{line}\n"))

    def give_to(self, user: User) -> None:
        """Do as docs/install.md says for the daemon's user."""
        for path in (*(self.etc / name for name in SECRETS), self.var):
            os.chown(path, user.uid, user.gid)

    def look(self, asked: User | None = None, *, by: User | None = None) -> dict[str, dict[str, str]]:
        """Return subject -> finding, in order."""
        return {finding["subject"]: finding for finding in self.look_at_all(asked, by=by)}

    def look_at_all(self, asked: User | None = None, *, by: User | None = None) -> list[dict[str, str]]:
        """Check all but Cloudlab and Slurm, in a process of its own of that user, or of ours."""

        def look() -> list[str]:
            try:
                found = check_everything(self.conf, SystemClock(), offline=True, asked=asked)
                return [json.dumps(asdict(finding)) for finding in found]
            except Exception:  # noqa: BLE001 - the parent tells it
                return ["", traceback.format_exc()]

        lines = seen_by(by or caller(), look) if os.geteuid() == 0 else look()
        assert lines[0], lines[1]
        return [json.loads(line) for line in lines]


@pytest.fixture
def site(issued: tuple[bytes, Identity, Identity], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site where all is in order for whoever runs the test, and what runs here counts as everybody's."""
    monkeypatch.setattr("agent.check.everything.program", dict)
    # It is loaded at its first use, and this interpreter may be hidden from the other user.
    codecs.lookup("ascii")
    monkeypatch.setattr("agent.check.user.shutil.which", lambda _: None)
    with tempfile.TemporaryDirectory() as directory:
        site = Site(Path(directory))
        fill(site, *issued)
        yield site


def fill(site: Site, ca: bytes, user: Identity, server: Identity) -> None:
    site.root.chmod(0o755)
    site.etc.mkdir()
    site.var.mkdir(0o700)
    site.conf.write_text(CONF.format(etc=site.etc, var=site.var, cm=CM))
    for name in ("cloudlab-ca.pem", "callers-ca.pem"):
        (site.etc / name).write_bytes(ca)
    (site.etc / "callback.pem").write_bytes(server.cert_path.read_bytes())
    (site.etc / "callback.key").write_bytes(server.key_path.read_bytes())
    (site.etc / "cloudlab.pem").write_bytes(user.download("open sesame"))
    (site.etc / "passphrase").write_text("open sesame\n")
    key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "esagent", "-f", site.etc / "id_ed25519"]
    subprocess.run(key, check=True, timeout=60)
    for path in (site.etc, *site.etc.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o600 if path.name in SECRETS else 0o644)


@pytest.fixture
def nobody() -> User:
    """A user who is not us."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    return named("nobody")


@pytest.fixture
def stranger() -> User:
    """A user who is neither us nor nobody; of no name."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    uid = next(n for n in range(54321, 60000) if n not in {entry.pw_uid for entry in pwd.getpwall()})
    return User(f"uid {uid}", uid, uid)


@pytest.fixture
def systemd(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have systemctl say something of the unit, as lines of KEY=VALUE."""

    def say(*lines: str) -> None:
        program = site.root / "systemctl"
        program.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\n")
        program.chmod(0o755)
        monkeypatch.setattr("agent.check.user.shutil.which", lambda _: str(program))

    return say


@pytest.fixture
def listen() -> Iterator[Callable[[Path, User], None]]:
    """Have a process of a user listen on a socket, as a daemon of that user does."""
    ends: list[tuple[int, int]] = []

    def start(path: Path, user: User) -> None:
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            path.chmod(0o666)
            ready, tell = os.pipe()
            wait, end = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    os.close(end)
                    become(user)
                    listener.listen()
                    os.write(tell, b"x")
                    os.read(wait, 1)
                finally:
                    os._exit(0)
            os.close(wait)
            os.close(tell)
            assert os.read(ready, 1) == b"x"
            os.close(ready)
            ends.append((child, end))

    yield start
    for child, end in ends:
        os.close(end)
        os.waitpid(child, 0)
