"""How a program of the test bed ends at a fault: with a sentence, not with a traceback."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from testbed.cloudlab.room import RoomError
from testbed.cloudlab.steering.control import SteeringError
from testbed.registry import BedError
from testbed.waiting import NotInTimeError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell has it."""


@contextmanager
def faults_told(program: str) -> Iterator[None]:
    """Have a fault end the program with status 1, and its words on stderr; Ctrl-C ends it without any.

    Args:
        program: what people know it by; the sentence begins so.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except (BedError, NotInTimeError, RoomError, SteeringError) as error:
        raise SystemExit(f"{program}: {error}") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise SystemExit(f"{program}: {words_of(error)}") from None


def words_of(error: OSError | subprocess.SubprocessError) -> str:
    """Tell what the system would not do.

    >>> words_of(FileNotFoundError(2, "No such file or directory", "munged"))
    'munged: No such file or directory'
    """
    match error:
        case subprocess.CalledProcessError():
            said = error.stderr or error.stdout or ""
            text = said.decode(errors="replace") if isinstance(said, bytes) else said
            return ": ".join(
                [_shown(error.cmd), f"status {error.returncode}", *text.strip().splitlines()[-1:]]
            )
        case subprocess.TimeoutExpired():
            return f"{_shown(error.cmd)}: it did not end within {error.timeout:g} s"
        case OSError() if error.filename is not None:
            return f"{error.filename}: {error.strerror}"
    return str(error)


def _shown(command: object) -> str:
    return shlex.join(map(str, command)) if isinstance(command, (list, tuple)) else str(command)
