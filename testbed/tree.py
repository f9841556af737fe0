"""A command under a supervisor: when it is ended, everything that it ever started ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testbed.registry import MARKER, BedError, Instance
from testbed.starting import Logs, require_alive, wait_until_ready
from testbed.waiting import NotInTimeError, wait_for

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OWN_PROCESSES = ("--pid", "--mount-proc")
"""Options of unshare(1) that give a command a pid namespace, and a /proc to see it."""
_END_TIMEOUT = 20.0


class ProcessTree:
    """A running command and all its descendants, daemons included.

    unshare(1) supervises it. The command is process 1 of its namespace, so the kernel kills all the others
    with it; and it is killed when unshare ends (``--kill-child``).
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        instance: Instance,
        log: Path,
        own_log: Path | None = None,
        environment: Mapping[str, str] | None = None,
        namespaces: Sequence[str] = OWN_PROCESSES,
    ) -> None:
        """Start the command, with nothing of our own environment.

        Args:
            name: what it is, in words, for errors.
            command: program and arguments.
            instance: the test bed that it belongs to.
            log: file that both its streams are appended to.
            own_log: file that it writes besides, where it rather tells what goes wrong.
            environment: variables besides PATH, LANG and the marker.
            namespaces: options of unshare(1). Without those of ``OWN_PROCESSES``, only the command itself is
                sure to end.

        Raises:
            BedError: it ended at once; its last error is in the message.
        """
        self.name = name
        self._logs = Logs(*([own_log] if own_log else []), log)
        with log.open("ab") as stream:
            self._supervisor = subprocess.Popen(
                ["unshare", "--fork", "--kill-child", *namespaces, "--", *command],
                env={"PATH": PATH, "LANG": "C.UTF-8", MARKER: instance.id, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd="/",
                start_new_session=True,
            )
        try:
            self.pid = wait_for("a child of unshare", self._find_child, interval=0.002)
            """Process id of the command, as the host sees it."""
            self._handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._supervisor.wait(_END_TIMEOUT)
            self.require_alive()
            raise
        except NotInTimeError as error:
            self._supervisor.kill()
            self._supervisor.wait(_END_TIMEOUT)
            raise BedError(f"{name} did not start: {error}; {self._logs.last_words()}") from error

    def _find_child(self) -> int:
        self.require_alive()
        children = children_of(self._supervisor.pid)
        return children[0] if children else 0

    def is_alive(self) -> bool:
        """Tell whether the command still runs."""
        return self._supervisor.poll() is None

    def require_alive(self) -> None:
        """Check that the command still runs.

        Raises:
            BedError: it ended; its last error, and the log that holds it, are in the message.
        """
        require_alive(self.name, self._supervisor, self._logs)

    def wait_until_ready(self, check: Callable[[], bool]) -> None:
        """Wait until a look from outside finds the command at work.

        Raises:
            BedError: it ended; its last error, and the log that holds it, are in the message.
            NotInTimeError: it is not ready in time; likewise.
        """
        wait_until_ready(self.name, self._supervisor, self._logs, check)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command itself; nothing when it has ended."""
        if self.is_alive():
            signal.pidfd_send_signal(self._handle, number)

    def wait(self, timeout: float) -> None:
        """Wait for the end of the command, and so of everything it started.

        Raises:
            NotInTimeError: it still runs after ``timeout`` seconds.
        """
        try:
            self._supervisor.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise NotInTimeError(f"the end of {self.name}: not within {timeout:g} s") from error

    def kill(self) -> None:
        """End the command and everything it started; doing so again is harmless.

        Raises:
            NotInTimeError: it did not end.
        """
        # The command and not unshare: unshare then ends after the kernel has ended the whole namespace.
        self.send(signal.SIGKILL)
        self.wait(_END_TIMEOUT)

    def close(self) -> None:
        """End everything, and free what this object holds."""
        self.kill()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def children_of(pid: int) -> list[int]:
    """List the children of a process that has one thread; none where it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
