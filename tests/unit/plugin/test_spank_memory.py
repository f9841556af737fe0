"""The compiled parts under AddressSanitizer and valgrind, with any table, option and environment."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SOURCE = Path(__file__).parents[3] / "contrib/slurm-plugin"
HARNESS = Path(__file__).with_name("spank_harness.c")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
VALGRIND = ("valgrind", "--quiet", "--leak-check=full", "--error-exitcode=99")
MISSING = [tool for tool in ("make", "gcc", "valgrind") if shutil.which(tool) is None]
if not Path("/usr/include/slurm/spank.h").exists():
    MISSING.append("libslurm-dev")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

END = b"lease_end 1795350000\n"
TABLES = (
    b"",
    END,
    END * 500,
    b"lease_end " + b"9" * 5000,
    b"lease_end 99999999999999999999\nnotice 99999999999999999999\n",
    b"lease_end -1\n",
    b"lease_end 1\0lease_end 2",
    b"\n" * 4096,
    b"notice\nlease_end",
    END + b"notice 600",
)
WORDS = (b"never", b"ok", b"only", b"", b"%s%n%s%n", b"x" * 10_000, b"\xff\xfe")
fuzzed = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Built:
    """The parts and the harness, built with these flags and run under these words."""

    def __init__(self, out: Path, flags: Sequence[str], under: Sequence[str]) -> None:
        self.out = out
        self._under = under
        words = " ".join(flags)
        subprocess.run(
            ["make", "--silent", f"BUILD={out}", f"CFLAGS=-g -Werror {words}", f"LDFLAGS={words}"],
            cwd=SOURCE,
            check=True,
            timeout=120,
        )
        gcc = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-g", "-rdynamic", *flags]
        subprocess.run([*gcc, "-o", out / "harness", HARNESS, "-ldl"], check=True, timeout=120)

    def plugin(self, words: Sequence[bytes], tables: Sequence[bytes]) -> str:
        """Give --elastic each word, and start a task with each table; return what was heard."""
        arguments = []
        for number, table in enumerate(tables):
            path = self.out / f"table-{number}"
            path.write_bytes(table)
            arguments.append(f"table={path}")
        asked = self.out / "words"
        asked.write_bytes(b"\n".join(words) + b"\n")
        with asked.open("rb") as stream:
            return self._run([self.out / "harness", self.out / "spank_esagent.so", *arguments], stream)

    def poke(self, arguments: Sequence[bytes], environment: Mapping[bytes, bytes]) -> str:
        return self._run([self.out / "esagent-poke", *arguments], None, environment)

    def _run(self, command: Sequence[object], stream: object, environment: object = None) -> str:
        done = subprocess.run(
            [*self._under, *command],  # type: ignore[list-item]
            stdin=stream or subprocess.DEVNULL,  # type: ignore[arg-type]
            env=environment,  # type: ignore[arg-type]
            capture_output=True,
            timeout=120,
            check=False,
        )
        words = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode == 0, words
        return words


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("sanitized"), SANITIZE, ())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("watched"), (), VALGRIND)


@pytest.mark.parametrize("build", ["sanitized", "watched"])
def test_no_word_and_no_table_that_we_thought_of_does_harm(
    build: str, request: pytest.FixtureRequest
) -> None:
    heard = request.getfixturevalue(build).plugin(WORDS, TABLES)
    assert "control ELASTIC=only" in heard
    assert "error --elastic=%s%n%s%n: expected never, ok or only" in heard
    assert "task SLURM_ELASTIC_DEADLINE=1795350000" in heard
    assert "borrowed until 2026-11-22T12:20:00Z" in heard
    assert "with 10 minutes of notice" in heard


@pytest.mark.parametrize("build", ["sanitized", "watched"])
def test_no_environment_that_we_thought_of_harms_the_poke(build: str, request: pytest.FixtureRequest) -> None:
    poke = request.getfixturevalue(build).poke
    assert poke([], {}) == ""
    long = b"n" * 100_000
    assert poke([long], {b"ESAGENT_SOCKET": b"/nowhere", b"SLURM_JOB_ID": long}) == ""
    assert poke([b'\xff\n"\\'], {b"ESAGENT_SOCKET": b"x" * 107, b"SLURM_JOB_NODELIST": b"\x01"}) == ""


lines = st.sampled_from([b"lease_end ", b"notice ", b"written ", b"\n", b" ", b"-", b"0", b"\0"])
tables = st.lists(st.one_of(lines, st.binary(max_size=20), st.integers().map(lambda n: b"%d" % n))).map(
    b"".join
)
words = st.binary(max_size=60)


@fuzzed
@given(words=st.lists(words, max_size=10), tables=st.lists(tables, max_size=20))
def test_no_word_and_no_table_at_all_does_harm(
    sanitized: Built, words: list[bytes], tables: list[bytes]
) -> None:
    sanitized.plugin(words, tables)


argument = st.binary(max_size=3000).map(lambda text: text.replace(b"\0", b""))


@fuzzed
@given(nodes=argument, job=argument, path=argument)
def test_no_environment_at_all_harms_the_poke(
    sanitized: Built, nodes: bytes, job: bytes, path: bytes
) -> None:
    environment = {b"SLURM_JOB_NODELIST": nodes, b"SLURM_JOB_ID": job, b"ESAGENT_SOCKET": b"/nowhere/" + path}
    assert sanitized.poke([], environment) == ""
