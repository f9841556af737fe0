"""Slurm's accounting: a slurmdbd and a MariaDB of their own, which is what it takes to have QOS."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from testbed.registry import BedError, Instance
from testbed.tree import PATH, ProcessTree
from testbed.waiting import PATIENCE

PROGRAMS = ("mariadbd", "slurmdbd")
_TABLES = ("/usr/share/mysql/mysql_system_tables", "/usr/share/mariadb/mariadb_system_tables")
"""How the files begin that make MariaDB's own tables, in Debian 12 and in Debian 13."""
_OPTIONS = ("--no-defaults", "--user=root", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M")
_SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={munge}
DbdHost={host}
DbdAddr={address}
DbdPort={port}
SlurmUser=root
LogFile={directory}/slurmdbd.log
PidFile={directory}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost={address}
StoragePort={storage_port}
StorageUser=root
StorageLoc=accounting
"""
_SLURM_CONF = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={address}
AccountingStoragePort={port}
AccountingStoragePass={munge}
"""


def missing_programs() -> list[str]:
    """List what accounting needs and this machine lacks; ``tools/setup-system`` knows the packages."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


class Accounting:
    """The two daemons; off until ``start``.

    Args:
        directory: of slurm.conf, where slurmdbd looks for its own settings.
        instance: the test bed that it belongs to.
        ports: TCP ports for slurmdbd and for MariaDB.
        munge: munged's socket.
    """

    def __init__(self, directory: Path, instance: Instance, ports: tuple[int, int], munge: Path) -> None:
        self._directory = directory
        self._munge = munge
        self._instance = instance
        self._ports = ports
        self._trees: list[ProcessTree] = []

    @property
    def slurm_conf(self) -> str:
        """The lines of slurm.conf that lead to it."""
        return _SLURM_CONF.format(address=self._instance.address, port=self._ports[0], munge=self._munge)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start both; return when slurmdbd listens.

        Raises:
            BedError: a program ends.
            NotInTimeError: one is not ready in time.
        """
        self._make_tables()
        database = self._directory / "database"
        self._run(
            "mariadbd",
            *_OPTIONS,
            f"--datadir={database}",
            f"--socket={database}/socket",
            f"--bind-address={self._instance.address}",
            f"--port={self._ports[1]}",
            # Nobody but this machine reaches it, and it lasts as long as the test.
            "--skip-grant-tables",
            port=self._ports[1],
        )
        conf = self._directory / "slurmdbd.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            _SLURMDBD_CONF.format(
                munge=self._munge,
                host=socket.gethostname().partition(".")[0],
                address=self._instance.address,
                port=self._ports[0],
                storage_port=self._ports[1],
                directory=self._directory,
            )
        )
        own_log = self._directory / "slurmdbd.log"
        self._run("slurmdbd", "-D", port=self._ports[0], environment=environment, own_log=own_log)

    def stop(self) -> None:
        """End both at once."""
        while self._trees:
            self._trees.pop().close()

    def _make_tables(self) -> None:
        database = self._directory / "database"
        database.mkdir()
        files = [Path(f"{start}{part}.sql") for start in _TABLES for part in ("", "_data")]
        tables = "".join(file.read_text() for file in files if file.exists())
        statements = f"create database mysql;\nuse mysql;\n{tables}"
        done = subprocess.run(
            ["mariadbd", *_OPTIONS, "--bootstrap", f"--datadir={database}"],
            input=statements,
            capture_output=True,
            check=False,
            env={"PATH": PATH},
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode != 0:
            raise BedError(f"mariadbd --bootstrap: status {done.returncode}: {done.stderr[-1000:]}")

    def _run(
        self,
        program: str,
        *arguments: str,
        port: int,
        environment: Mapping[str, str] | None = None,
        own_log: Path | None = None,
    ) -> None:
        """Start a daemon; return when it listens on a port."""
        tree = ProcessTree(
            program,
            [program, *arguments],
            instance=self._instance,
            log=self._directory / f"{program}.out",
            own_log=own_log,
            environment=environment,
        )
        self._trees.append(tree)
        tree.wait_until_ready(lambda: self._listens(port))

    def _listens(self, port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(2)
            return probe.connect_ex((self._instance.address, port)) == 0
