"""A check that root calls becomes the daemon's user, once it is proved that this one can run it."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import site
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import agent
from agent.check.barrier import barrier, mode_of
from agent.check.finding import Finding, fault
from agent.check.user import User

PACKAGE = Path(agent.__file__).parent


def become(user: User) -> None:
    """Make this process one of that user, for good; it has to be root's.

    Raises:
        OSError: it may not.
    """
    os.setgroups(user.groups)
    os.setgid(user.gid)
    os.setuid(user.uid)
    try:
        home = pwd.getpwuid(user.uid).pw_dir
    except KeyError:
        home = "/"
    os.environ.update(HOME=home, USER=user.name, LOGNAME=user.name)


def seen_by(user: User, look: Callable[[], list[str]]) -> list[str]:
    """Let a child of this process become that user and look; return what it saw.

    Raises:
        OSError: it could not become that user.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writing, "w") as answer:
                json.dump(_as(user, look), answer)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    told: dict[str, list[str]] = json.loads(text or '{"error": ["it ended"]}')
    if "error" in told:
        raise PermissionError(*told["error"])
    return told["saw"]


def _as(user: User, look: Callable[[], list[str]]) -> dict[str, list[str]]:
    try:
        become(user)
    except OSError as error:
        return {"error": [str(error)]}
    return {"saw": look()}


def program() -> dict[Path, int]:
    """List what runs now, as path -> what has to be allowed there: interpreter, libraries, our package."""
    loaded = {Path(file) for module in list(sys.modules.values()) if (file := _file_of(module))}
    # What Python keeps compiled it does without.
    ours = (file for file in PACKAGE.rglob("*") if "__pycache__" not in file.parts)
    files = {file for file in (*loaded, *ours, Path(sys.prefix, "pyvenv.cfg")) if file.is_file()}
    needed = dict.fromkeys(files, os.R_OK)
    # Python lists a directory to find a module there.
    needed |= dict.fromkeys({file.parent for file in files}, os.R_OK | os.X_OK)
    return needed | {Path(sys.executable): os.X_OK}


def _file_of(module: object) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def check_program(user: User, needed: Mapping[Path, int]) -> Iterator[Finding]:
    """Tell whether a user may run us: what was installed with a narrow umask is root's alone.

    Args:
        user: who is to run us.
        needed: what ``program`` lists.

    Raises:
        OSError: this process may not become that user.
    """

    def look() -> list[str]:
        return sorted({str(part) for path, mode in needed.items() if (part := barrier(path, mode))})

    if bars := [Path(part) for part in seen_by(user, look)]:
        seen = f"{user.name} may not read {bars[0]} ({mode_of(bars[0])})"
        yield fault("program", seen, _mend(bars, user))


def _mend(bars: list[Path], user: User) -> str:
    """Say how to open what bars: nothing of the machine is opened that is not ours."""
    trees = set()
    for bar in bars:
        tree = _tree(bar)
        if tree is None:
            return f"install esagent and its Python where {user.name} may read them, not below {bar}"
        trees.add(str(tree))
    return f"chmod -R a+rX {shlex.join(sorted(trees))}"


def _tree(bar: Path) -> Path | None:
    """Tell what was installed together with this; None where it is not our installation that bars."""
    is_venv = sys.prefix != sys.base_prefix
    if is_venv and bar.is_relative_to(sys.prefix):
        return Path(sys.prefix)
    if bar.is_relative_to(PACKAGE):
        return PACKAGE
    return bar if any(bar.is_relative_to(place) for place in site.getsitepackages()) else None
