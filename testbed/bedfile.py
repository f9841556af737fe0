"""``DIR/testbed.json``: where a running test bed tells clients all that they need to reach it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from testbed.pki import write_file

NAME = "testbed.json"


class BedFileError(Exception):
    """The file is missing or does not hold what it should."""


@dataclass(frozen=True)
class CmEntry:
    """A component manager."""

    urn: str
    url: str


@dataclass(frozen=True)
class CallbackFiles:
    """What the agent's callback server needs."""

    cert: Path
    """Server certificate for the agent, PEM."""
    key: Path
    """Its key, PEM, not encrypted."""
    ca: Path
    """CA bundle that the callers' certificates are signed by."""
    urns: tuple[str, ...]
    """The callers: one CM authority URN per site, each the subjectAltName URI of a client certificate."""


@dataclass(frozen=True)
class BedFile:
    """A running test bed. Paths are absolute."""

    directory: Path
    sa_url: str
    cms: tuple[CmEntry, ...]
    ca_bundle: Path
    user_urn: str
    user_pem: Path
    """As Cloudlab hands it out: encrypted key, then certificate."""
    user_cert: Path
    """The certificate alone."""
    user_key: Path
    """The same key without encryption, for clients that cannot ask for a passphrase."""
    passphrase: str
    passphrase_file: Path
    ssh_key: Path
    """Private key whose public half is registered at the SA."""
    callback: CallbackFiles
    callback_url: str | None
    """Where the test bed calls the agent; None when it makes no callbacks."""
    project: str
    pid: int
    speed: float
    """Simulated seconds per real second."""
    journal: Path
    log: Path | None = None
    agent_conf: Path | None = None
    slurm_conf: Path | None = None
    slurm_bin_dir: Path | None = None
    """Where Slurm's commands are; None: in PATH."""


_FILE = TypeAdapter(BedFile)


def write_bed_file(bed: BedFile) -> Path:
    """Write ``testbed.json`` into the test bed's directory, whole or not at all; return its path."""
    path = bed.directory / NAME
    write_file(path, _FILE.dump_json(bed, indent=2) + b"\n", secret=True)
    return path


def read_bed_file(directory: Path) -> BedFile:
    """Read the ``testbed.json`` of a directory.

    Raises:
        BedFileError: there is none, or it is not one.
    """
    path = directory / NAME
    try:
        return _FILE.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BedFileError(f"{path} is missing: no test bed has been started in {directory}") from error
    except ValidationError as error:
        raise BedFileError(f"{path} is not the file of a test bed: {error}") from error
