"""Removing what a test bed left on the machine, also after its process was killed.

``python -m testbed.cleanup INSTANCE_ID`` is the janitor that every test bed starts beside itself: it waits
for the end of its standard input, which comes when the test bed's process has ended in whatever way, and
cleans up. A start of any test bed does the same for every dead one in the registry, should a janitor have
been killed too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from testbed import bedfile, registry
from testbed.links import delete_link, link_names
from testbed.registry import MARKER, Instance
from testbed.waiting import wait_for

_KILL_TIMEOUT = 20.0


def remove(instance: Instance) -> None:
    """Remove the processes, network interfaces and record of a test bed; the caller holds the lock.

    Its directory stays, with the logs, but for the file that tells clients how to reach it.

    Raises:
        NotInTimeError: a process did not end, though it was killed.
        BedError: an interface could not be removed.
    """
    (Path(instance.directory) / bedfile.NAME).unlink(missing_ok=True)
    namespaces: set[str] = set()
    wait_for(
        f"the end of all processes of test bed {instance.id}",
        lambda: _kill(_survey(instance, namespaces)),
        timeout=_KILL_TIMEOUT,
    )
    for name in link_names():
        if instance.owns_link(name):
            delete_link(name)
    registry.forget(instance)


def remove_dead() -> None:
    """Remove what every dead test bed left; the caller holds the registry's lock."""
    for instance in registry.instances():
        if not registry.is_alive(instance):
            remove(instance)


def processes_of(instance: Instance) -> frozenset[int]:
    """Find the processes of a test bed: those with its marker, and all in their pid namespaces."""
    return frozenset(_survey(instance, set()))


def _survey(instance: Instance, namespaces: set[str]) -> dict[int, int]:
    """Find the processes of a test bed with their start times.

    Args:
        instance: the test bed.
        namespaces: its pid namespaces as far as known; what is found is added, so that a later look still
            knows the namespaces of processes that are gone by then.
    """
    wanted = f"{MARKER}={instance.id}".encode()
    seen = {pid: start for pid in _pids() if (start := registry.start_time(pid)) is not None}
    marked = {pid for pid in seen if _has_environment(pid, wanted)} - {os.getpid()}
    # unshare(1) itself stays outside of the namespace that it makes for its children.
    namespaces |= {_namespace(pid, "pid_for_children") for pid in marked}
    namespaces -= {_namespace("self", "pid"), ""}
    inside = {pid for pid in seen if _namespace(pid, "pid") in namespaces}
    return {pid: start for pid, start in seen.items() if pid in marked | inside}


def _kill(processes: dict[int, int]) -> bool:
    """Kill processes, given with their start times; True when there were none."""
    for pid, start in processes.items():
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                # From here on the handle means one process; before, its number may have been given anew.
                if registry.start_time(pid) == start:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
    return not processes


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _namespace(pid: int | str, kind: str) -> str:
    """Identity of a process's namespace; "" when the process has gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def _has_environment(pid: int, entry: bytes) -> bool:
    try:
        return entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def main(argv: list[str]) -> int:
    """Wait for the end of standard input, then clean up after the test bed of this id."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    with registry.locked():
        for instance in registry.instances():
            if instance.id == argv[0]:
                remove(instance)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
