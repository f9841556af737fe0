"""``make test-fresh``: what the README has a newcomer type, on clean Debians; then docs/install.md, booted.

Each tree has what Debian's base installs, and no other Python. It has a root of its own and no init system:
what needs one is done by tests/packaging on machines with systemd, which follow docs/install.md word by word
with the package that was made in the tree. This ends with a table of what ran and what did not, and why, and
exits non-zero when a line failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from testbed.needs import require_rights
from testbed.nspawn import add_own_cas, place_of_run
from testbed.registry import BedError
from testbed.release import VARIABLE
from testbed.told import faults_told
from testbed.tree import PATH, children_of
from testbed.waiting import NotInTimeError, wait_for
from tools.document_commands import BLOCK

SUITES = ("bookworm", "trixie")
"""The releases of Debian that the README names."""
BASE = ("apt", "?priority(required)")
"""What every Debian has (``debootstrap --variant=minbase``)."""
ADDRESS = "URL"
"""Stands in the README for the address of the repository."""
REPOSITORY = "/srv/esagent.git"
"""Where it is in a tree: what is committed here."""
OWN_SUITE = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
"""That of this machine; "" where it is no Debian."""
SUITE_VARIABLE = "PACKAGING_SUITE"
"""Environment variable that names another suite for tests/packaging, which take the package of its tree."""
_ROOT = Path(__file__).resolve().parent.parent
_GOES_ON = {"python -m testbed up": "The test bed is up", "esagent run": "the agent is up"}
"""What is in a line that does not end by itself -> what it says when the next ones may be typed."""
_SETUP_TIMEOUT = 1800.0
_LINE_TIMEOUT = 7200.0
_OWN_NAMESPACES = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--"),
)
# A root of its own, and not that of a chroot: user namespaces can be made only below the former. Its first
# process has to reap what others leave, which `wait` does.
_ENTER = """
set -e
mount --make-rprivate /
mount -t proc proc "$0/proc"
for place in sys dev; do mount --rbind "/$place" "$0/$place"; done
mount -t tmpfs -o mode=755 run "$0/run"
mkdir "$0/run/lock"
cd "$0"
pivot_root . mnt
umount --lazy /mnt
echo ready
sleep infinity &
wait
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one line."""

    page: str
    line: str
    said: str
    """"ran" with its seconds; "FAILED", and where it is told; or "not run", and why."""

    @property
    def failed(self) -> bool:
        """Tell whether it is a fault."""
        return self.said.startswith("FAILED")


class Tree:
    """A clean Debian with a root, processes and a /run of its own, and this machine's network."""

    def __init__(self, root: Path, log: Path) -> None:
        """Enter it: from now on everything in it ends with this process.

        Args:
            root: its files, which is a mount.
            log: what lines print is appended to it.
        """
        self._log = log
        self._init = subprocess.Popen(
            [*_OWN_NAMESPACES, "sh", "-c", _ENTER, str(root)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert self._init.stdout is not None
        if self._init.stdout.readline() != "ready\n":
            raise BedError(f"{root}: it could not be entered")
        (self._pid,) = children_of(self._init.pid)

    def close(self) -> None:
        """End all that runs in it."""
        self._init.kill()
        self._init.wait()

    def start(self, line: str) -> subprocess.Popen[bytes]:
        """Run a line as root's shell does, with nothing of our environment."""
        with self._log.open("ab") as log:
            log.write(f"\n$ {line}\n".encode())
            log.flush()
            return subprocess.Popen(
                [
                    *("nsenter", f"--target={self._pid}", "--mount", "--pid", "--root", "--"),
                    *("env", "-i", "--chdir=/root", f"PATH={PATH}", "HOME=/root", "TERM=dumb"),
                    *("sh", "-c", line),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def says(self, words: str) -> bool:
        """Tell whether its lines have printed these words."""
        return words in self._log.read_text(errors="replace")


@contextmanager
def clean_tree(suite: str, out: Path, place: Path) -> Iterator[tuple[Tree, Path]]:
    """Make a tree of a suite, over a base that is made once; yield it and its files.

    Raises:
        BedError: Debian's base could not be made.
    """
    base = out / suite
    made = subprocess.run(
        [_ROOT / "tools/setup-release", suite, base, *BASE], check=False, timeout=_SETUP_TIMEOUT
    )
    if made.returncode != 0:
        raise BedError(f"Debian {suite} could not be set up, see above")
    root, upper, work = (place / suite / name for name in ("root", "upper", "work"))
    for directory in (root, upper, work):
        directory.mkdir(parents=True)
    options = f"lowerdir={base},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", root], check=True, timeout=60)
    # The way to the network is this machine's: its name server, and the CAs that its site adds.
    (root / "etc/resolv.conf").write_text(Path("/etc/resolv.conf").read_text())
    add_own_cas(root)
    # mmdebstrap's own options of apt, which a base does not have; and a person would say yes.
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (root / "etc/apt/apt.conf.d/99yes").write_text('APT::Get::Assume-Yes "true";\n')
    (root / "mnt").mkdir(exist_ok=True)
    subprocess.run(
        ["git", "clone", "--quiet", "--bare", _ROOT, f"{root}{REPOSITORY}"], check=True, timeout=300
    )
    tree = Tree(root, out / f"{suite}.log")
    try:
        yield tree, root
    finally:
        tree.close()
        subprocess.run(["umount", "--lazy", root], check=True, timeout=60)


class Reader:
    """Types the lines of a page in a tree."""

    def __init__(self, tree: Tree, page: Path) -> None:
        """Read the page.

        Args:
            tree: where its lines are typed.
            page: a document of the repository.
        """
        self._tree = tree
        self._page = page
        self._before = ""
        self._broken = ""
        self._going_on: list[subprocess.Popen[bytes]] = []

    def follow(self) -> Iterator[Outcome]:
        """Type every line; after one that fails, none of the others is typed: they stand on it."""
        try:
            for _, language, _, block in BLOCK.findall(self._page.read_text(encoding="utf-8")):
                if language == "sh":
                    yield from self._type(textwrap.dedent(block).splitlines())
        finally:
            for running in self._going_on:
                running.kill()
                running.wait()

    def _type(self, lines: Sequence[str]) -> Iterator[Outcome]:
        for line in filter(str.strip, lines):
            if self._broken:
                yield Outcome(self._page.name, line, f"not run: it stands on `{self._broken}`")
                continue
            began = time.monotonic()
            said = self._answer(f"{self._before}{line.replace(f' {ADDRESS} ', f' {REPOSITORY} ')}")
            outcome = Outcome(self._page.name, line, f"{said}, {time.monotonic() - began:.0f} s")
            if outcome.failed:
                self._broken = line
            yield outcome
            # What a terminal remembers; the README's later ones have the same.
            if remembered := re.search(r"(?:^|&& )((?:cd|export) [^#]+)", line):
                self._before += f"{remembered[1]}\n"

    def _answer(self, typed: str) -> str:
        running = self._tree.start(typed)
        words = next((said for part, said in _GOES_ON.items() if part in typed), "")
        if not words:
            status = running.wait(_LINE_TIMEOUT)
            return f"FAILED with status {status}" if status else "ran"
        self._going_on.append(running)
        try:
            wait_for(words, lambda: self._tree.says(words) or running.poll() is not None)
        except NotInTimeError as error:
            return f"FAILED: {error}"
        return f"FAILED with status {running.returncode}" if running.poll() is not None else "goes on"


def follow_installation(suite: str) -> Iterator[Outcome]:
    """Follow docs/install.md on booted machines of a suite, with the package that was made in its tree."""
    yield Outcome("install.md", "the chapter Other systems", "not run: they are not here")
    environment = {**os.environ, SUITE_VARIABLE: suite}
    setups: list[list[str | Path]] = [[_ROOT / "tools/setup-machines", suite]]
    if suite != OWN_SUITE:
        # Slurm's commands on the machines speak only to their own release.
        tree = _ROOT / "build/releases" / suite
        setups.append([_ROOT / "tools/setup-release", suite, tree])
        environment[VARIABLE] = str(tree)
    for setup in setups:
        subprocess.run(setup, cwd=_ROOT, check=True, timeout=_SETUP_TIMEOUT)
    began = time.monotonic()
    tests = _ROOT / "tests/packaging/test_install_document.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--timeout", "900", tests],
        env=environment,
        cwd=_ROOT,
        check=False,
        timeout=_LINE_TIMEOUT,
    )
    said = f"FAILED with status {done.returncode}, see above" if done.returncode else "ran"
    yield Outcome("install.md", "every other line, both ways", f"{said}, {time.monotonic() - began:.0f} s")


def try_suite(suite: str, out: Path, place: Path) -> list[Outcome]:
    """Do all of it on a suite."""
    with clean_tree(suite, out, place) as (tree, root):
        outcomes = list(Reader(tree, _ROOT / "README.md").follow())
        packages = list(root.glob("root/esagent/build/deb/*.deb"))
        directory = out / f"{suite}-deb"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for package in packages:
            shutil.copy(package, directory)
    if packages:
        outcomes.extend(follow_installation(suite))
    else:
        outcomes.append(Outcome("install.md", "every line", "not run: the README's lines made no package"))
    return outcomes


def show(suite: str, outcomes: Sequence[Outcome], log: Path) -> None:
    """Print the closing table of a suite."""
    table = Table("document", "line", "what became of it", title=f"Debian {suite}; all words: {log}")
    for outcome in outcomes:
        table.add_row(outcome.page, outcome.line, outcome.said)
    Console(width=118, highlight=False, markup=False).print(table)


@faults_told("test-fresh")
def main() -> int:
    """Try every suite that was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m testbed.fresh", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)}; none: all of them")
    suites = parser.parse_args().suites or SUITES
    if unknown := set(suites) - set(SUITES):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(SUITES)}")
    require_rights()
    out = _ROOT / "build/fresh"
    out.mkdir(parents=True, exist_ok=True)
    outcomes = {}
    with place_of_run() as place:
        for suite in suites:
            log = out / f"{suite}.log"
            log.unlink(missing_ok=True)
            print(f"test-fresh: the README's lines on Debian {suite}; what they say is in {log}", flush=True)
            outcomes[suite] = try_suite(suite, out, place)
            show(suite, outcomes[suite], log)
    return 1 if any(outcome.failed for tried in outcomes.values() for outcome in tried) else 0


if __name__ == "__main__":
    sys.exit(main())
