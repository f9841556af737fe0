"""Changes the decision modules line by line and runs their unit tests: ``make mutants``.

``tests/mutants.toml`` names the modules, and the mutants that no test can catch. The work tree stays as it
is: each worker changes a copy of its own.
"""

from __future__ import annotations

import argparse
import importlib
import math
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.mutations import Mutant, mutants

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests/mutants.toml"
LEAST = 0.95
"""Share of the mutants that the tests are to catch."""
_PATIENCE = 5
"""CPU seconds that tests may take beyond five times what they take without a mutant."""
_WAIT = 100
"""Seconds that one test may take: one that waits for ever takes no CPU."""
_MEMORY = 4 << 30
"""Bytes that the tests may have: a loop that never ends would take all."""
_PLUGIN = "pytest_timeout"
_SAID = Path("said-by-the-tests")
_LIBRARIES = Path("libraries")


@dataclass(frozen=True)
class Task:
    """A mutant, and what may catch it."""

    mutant: Mutant
    tests: tuple[str, ...]
    limit: int
    """CPU seconds; tests that take more caught it."""


def unit_tests_of(module: str, others: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of a module's unit tests: those that mirror it, then others.

    Raises:
        SystemExit: it has none.
    """
    path = Path(module)
    mirror = Path("tests/unit", *path.parts[1:-1])
    found = sorted(str(p.relative_to(ROOT)) for p in (ROOT / mirror).glob(f"test_{path.stem}*.py"))
    if not found and not others:
        raise SystemExit(f"{module}: no test is at {mirror}/test_{path.stem}.py, and {LIST.name} names none")
    return (*found, *others)


def _settle_in(place: str) -> None:
    """Make the copy that this worker changes, stay there, and load the libraries that all tests share."""
    here = Path(place, str(os.getpid()))
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    ran = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in ran.stdout.split("\0"):
        if (ROOT / name).is_file():
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, here / name)
    os.chdir(here)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    # All that is not changed is compiled once, whatever the environment asks for.
    sys.dont_write_bytecode = False
    _in_child(_list_libraries)
    for name in _LIBRARIES.read_text().split():
        with suppress(Exception):
            importlib.import_module(name)


def _list_libraries() -> int:
    """Write down what tests import that is neither ours nor a plug-in, which pytest wants to load itself."""
    _pytest(["--collect-only", "tests/unit/core", "tests/unit/cluster"])
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    here = Path.cwd()
    libraries = [n for n, f in files.items() if f and n != _PLUGIN and not Path(f).is_relative_to(here)]
    _LIBRARIES.write_text("\n".join(libraries))
    return 0


def _in_child(work: Callable[[], int]) -> int:
    """Do something in a child whose output goes to a file; return its exit code, below 0 for a signal."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        with _SAID.open("w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            try:
                code = work()
            except BaseException:
                traceback.print_exc()
                raise
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code)


def _pytest(arguments: Sequence[str]) -> int:
    # Plug-ins that the tests do without take longer to load than most tests take.
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", _PLUGIN, *arguments]))


def _measure(tests: Sequence[str]) -> tuple[int, float, str]:
    """Run tests on unchanged code; return their exit code, their CPU seconds, and what they said."""
    before = os.times()
    code = _in_child(lambda: _pytest(tests))
    after = os.times()
    seconds = after.children_user - before.children_user + after.children_system - before.children_system
    return code, seconds, _SAID.read_text()


def _try(task: Task) -> tuple[Mutant, bool]:
    """Return a mutant, and whether the tests caught it."""
    path = Path(task.mutant.module)
    before = path.read_text()
    path.write_text(task.mutant.code)
    try:
        return task.mutant, _in_child(lambda: _run_limited(task)) != 0
    finally:
        path.write_text(before)


def _run_limited(task: Task) -> int:
    # What is compiled here must not be taken for the module once it is whole again.
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_CPU, (task.limit, task.limit))
    return _pytest([f"--timeout={_WAIT}", *task.tests])


def _tasks(module: str, tests: tuple[str, ...], seconds: float) -> Iterator[Task]:
    for mutant in mutants(module, (ROOT / module).read_text()):
        yield Task(mutant, tests, math.ceil(5 * seconds) + _PATIENCE)


def main() -> None:
    """Try the mutants of some modules, or of all; end with 1 if too few of all are caught, or one is new."""
    known = tomllib.loads(LIST.read_text())
    parser = argparse.ArgumentParser(prog="tools.mutants", description=main.__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as agent/core/scaling/brake.py")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="number of mutants at a time")
    arguments = parser.parse_args()
    modules = arguments.modules or list(known["modules"])
    if strange := set(modules) - known["modules"].keys():
        raise SystemExit(f"{LIST.name} does not name {', '.join(sorted(strange))}")
    equivalent = {(e["module"], e["in"], e["line"], e["change"]) for e in known.get("equivalent", ())}
    tried = caught = new = 0
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as place,
        multiprocessing.get_context("spawn").Pool(arguments.jobs, _settle_in, (place,)) as pool,
    ):
        print(f"{'module':42} {'mutants':>8} {'caught':>8} {'survivors':>10} {'seconds':>8}")
        for module in modules:
            begun = time.monotonic()
            tests = unit_tests_of(module, known["modules"][module])
            code, seconds, said = pool.apply(_measure, (tests,))
            if code:
                raise SystemExit(f"{said}\n{module}: its tests fail without any mutant")
            fates = list(pool.imap(_try, _tasks(module, tests, seconds)))
            survivors = [mutant for mutant, is_caught in fates if not is_caught]
            tried, caught = tried + len(fates), caught + len(fates) - len(survivors)
            _say(module, len(fates), len(survivors), f"{time.monotonic() - begun:8.0f}")
            new += _compare(survivors, {name for name in equivalent if name[0] == module})
    share = caught / max(tried, 1)
    _say("all", tried, tried - caught, f"{share:8.1%} are caught; of all modules {LEAST:.0%} are to be")
    # One module may have more mutants that make no difference than all of them together.
    sys.exit(int(bool(new) or (share < LEAST and not arguments.modules)))


def _say(what: str, tried: int, survived: int, more: str) -> None:
    print(f"{what:42} {tried:8} {tried - survived:8} {survived:10} {more}", flush=True)


def _compare(survivors: Sequence[Mutant], equivalent: set[tuple[str, str, str, str]]) -> int:
    """Print each survivor that is not in the list, as an entry of it, and what is stale there.

    Returns:
        How many are not in the list.
    """
    new = [mutant for mutant in survivors if mutant.name not in equivalent]
    for mutant in new:
        print(f"\n[[equivalent]]  # or a test is missing: {mutant.module}:{mutant.number}")
        for key, value in zip(("module", "in", "line", "change"), mutant.name, strict=True):
            print(f"{key} = {_quoted(value)}")
    for name in sorted(equivalent - {mutant.name for mutant in survivors}):
        print(f"stale: {LIST.name} lists what is no survivor: {' | '.join(name)}")
    return len(new)


def _quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text else f"'''{text}'''"


if __name__ == "__main__":
    main()
