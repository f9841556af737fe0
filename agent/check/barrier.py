"""What keeps this process from a file: the part of its path that bars it, and who may pass there."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def barrier(path: Path, needed: int = os.R_OK) -> Path | None:
    """Return the first part of a path that this process may not pass.

    Args:
        path: the file or directory.
        needed: what has to be allowed there, as ``access(2)`` takes it; a directory on the way is searched.

    Returns:
        A directory or the file itself; None where nothing bars, and where the path leads nowhere.
    """
    path = path.absolute()
    for part in (*reversed(path.parents), path):
        if not os.path.lexists(part):
            return None
        wanted = needed if part == path else os.X_OK
        if os.access(part, wanted):
            continue
        if part != path and _is_file(part):
            return None
        target = Path(os.path.realpath(part))
        if target != part:
            return barrier(target, wanted)
        # What is a link still is one of a loop.
        return None if part.is_symlink() else part
    return None


def _is_file(part: Path) -> bool:
    # Those of Path raise where a link leads to what is hidden.
    return os.path.exists(part) and not os.path.isdir(part)  # noqa: PTH110, PTH112


def mode_of(part: Path) -> str:
    """Tell who may pass, as ``drwx------, of user root and group root``; why not, where that is not seen."""
    try:
        found = part.stat()
    except OSError as error:
        return str(error.strerror)
    try:
        owner = part.owner()
    except KeyError:
        owner = str(found.st_uid)
    try:
        group = part.group()
    except KeyError:
        group = str(found.st_gid)
    return f"{stat.filemode(found.st_mode)}, of user {owner} and group {group}"
