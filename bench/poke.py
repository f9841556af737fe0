"""How long Slurm waits for esagent-poke, also when the agent is dead or its socket hangs.

``python -m bench.poke`` builds contrib/slurm-plugin and runs the program some hundred times in each case, in
turn, beside ``true``, which tells what starting a program costs here.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from testbed.told import faults_told

SOURCE = Path(__file__).parent.parent / "contrib/slurm-plugin"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@faults_told("bench.poke")
def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=500, help="runs of each case (500)")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        subprocess.run(["make", "--silent", f"BUILD={directory}"], cwd=SOURCE, check=True, timeout=120)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(directory / "dead"))
        poke = str(directory / "esagent-poke")
        cases = {
            "true, for comparison": ("/bin/true", Path()),
            "the agent answers": (poke, stack.enter_context(answering(directory / "answers"))),
            "no socket": (poke, directory / "none"),
            "the agent is dead": (poke, directory / "dead"),
            "the agent hangs": (poke, stack.enter_context(hanging(directory / "hangs", backlog=times))),
            "it takes no more": (poke, stack.enter_context(full(directory / "full"))),
        }
        taken: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(times):
            for case, (program, path) in cases.items():
                taken[case].append(run(program, path))
        print(f"load {os.getloadavg()[0]:.1f}, {times} runs of each case, in ms")
        for case, each in taken.items():
            parts = statistics.quantiles(each, n=100)
            print(f"{case:22} median {parts[49]:6.2f}  99% {parts[98]:6.2f}  longest {max(each):6.2f}")


def run(program: str, path: Path) -> float:
    """Run it as slurmctld does; return the milliseconds until it has ended."""
    environment = {"ESAGENT_SOCKET": str(path), "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]"}
    begin = time.perf_counter()
    child = os.posix_spawn(program, [program], environment)
    _, status = os.waitpid(child, 0)
    taken = (time.perf_counter() - begin) * 1e3
    assert status == 0, f"{program} ended with status {status}"
    return taken


@contextmanager
def answering(path: Path) -> Iterator[Path]:
    """Give a socket where each call is answered at once."""
    with socket.create_server(str(path), family=socket.AF_UNIX) as server:
        threading.Thread(target=_answer, args=(server,), daemon=True).start()
        yield path
        server.shutdown(socket.SHUT_RDWR)


def _answer(server: socket.socket) -> None:
    while True:
        try:
            call, _ = server.accept()
        except OSError:
            return
        # It waits no longer than it may, and this machine may be slow.
        with call, suppress(BrokenPipeError, ConnectionResetError):
            call.recv(4096)
            call.sendall(_ANSWER)


@contextmanager
def hanging(path: Path, backlog: int) -> Iterator[Path]:
    """Give a socket where everybody may connect and nobody is answered, as that of a stopped process."""
    with socket.create_server(str(path), family=socket.AF_UNIX, backlog=backlog):
        yield path


@contextmanager
def full(path: Path) -> Iterator[Path]:
    """Give a socket with no room for one connection more."""
    with ExitStack() as stack:
        stack.enter_context(socket.create_server(str(path), family=socket.AF_UNIX, backlog=0))
        while True:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(str(path))
            except BlockingIOError:
                break
        yield path


if __name__ == "__main__":
    main()
