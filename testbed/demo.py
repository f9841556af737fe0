"""The main job, end to end: each step as it happens, and what was then seen from outside.

``make demo`` runs it. It ends with a table of claims and exits non-zero when one does not hold.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rich.console import Console

from testbed import claims, release
from testbed.claims import Claim
from testbed.quiet_site import QuietSite
from testbed.registry import MARKER
from testbed.starting import Logs, require_alive, wait_until_ready
from testbed.told import faults_told
from testbed.up import TestBed
from testbed.waiting import NotInTimeError, wait_for

SPEED = 60.0
"""Machine life: a simulated minute a second."""
REVOKE_IN = 65.0
AGENT_LOG = "agent.log"
LONG_JOB = 'if [ "${SLURM_RESTART_COUNT:-0}" = 0 ]; then sleep 300; else sleep 5; fi'
"""Stands for a program that goes on from its checkpoint: long at first, short once it was requeued."""


class Demo:
    """Tells the story on a running test bed."""

    def __init__(self, bed: TestBed, out: Path) -> None:
        self.bed = bed
        self.out = out
        self.claims: list[Claim] = []
        self.console = Console(width=118, highlight=False)
        self.began = time.monotonic()
        self.agent: subprocess.Popen[bytes] | None = None
        self.agent_logs = Logs(out / AGENT_LOG)

    # --- telling

    def chapter(self, number: int, words: str) -> None:
        """Open a step of the story."""
        self.console.print(f"\n[bold]{number}. {words}[/bold]")

    def say(self, who: str, words: str) -> None:
        """Print one line with the time since the start."""
        self.console.print(f"{time.monotonic() - self.began:7.1f} s  {who:<9} {words}", markup=False)

    def claim(self, words: str, seen_from: str, value: object, ok: object) -> None:
        """Keep one row of the closing table."""
        self.claims.append(Claim(words, seen_from, str(value), bool(ok)))
        self.say("seen", f"{seen_from}: {value}" + ("" if ok else "   <-- NOT AS CLAIMED"))

    # --- looking from outside

    def slurm(self, *command: str) -> str:
        """Run a command of Slurm's and return what it printed."""
        return self.bed.slurm.run(*command).strip()

    def submit(self, script: str, *options: str) -> str:
        """Submit a job; return its id."""
        return self.slurm("sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", script)

    def job(self, job_id: str, key: str) -> str:
        """Read one field of a job from scontrol."""
        return self._field(self.slurm("scontrol", "-o", "show", "job", job_id), key)

    def node(self, name: str, key: str) -> str:
        """Read one field of a node from scontrol."""
        return self._field(self.slurm("scontrol", "-o", "show", "node", name), key)

    @staticmethod
    def _field(line: str, key: str) -> str:
        return next((w.split("=", 1)[1] for w in line.split() if w.startswith(f"{key}=")), "")

    def held(self) -> list[str]:
        """Which machines the simulated Cloudlab says that we hold."""
        return sorted(m.node_id for m in self.bed.cloudlab.machines() if m.slice_urn)

    def slurm_nodes(self) -> list[str]:
        """Which nodes Slurm has."""
        return sorted(set(self.slurm("sinfo", "-h", "-N", "-o", "%N").split()))

    def esagent(self, *arguments: str) -> str:
        """Run the administrator's command."""
        environment = {**os.environ, "ESAGENT_SOCKET": str(self.bed.agent_socket)}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("esagent")), *arguments],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return (done.stdout + done.stderr).strip()

    def wait(self, what: str, check: Callable[[], object]) -> bool:
        """Wait until it holds; an overrun is told, and the claim that follows will not be ok.

        Raises:
            BedError: the daemon ended.
        """

        def look() -> object:
            if self.agent is not None:
                require_alive("esagent run", self.agent, self.agent_logs)
            return check()

        try:
            return bool(wait_for(what, look, interval=0.2))
        except NotInTimeError as error:
            self.say("LATE", str(error))
            return False

    # --- the story

    def run(self) -> None:
        """Tell all of it."""
        quiet = QuietSite(self, LONG_JOB)
        quiet.wait_for_its_chapter()
        self.start_agent()
        blocker = self.queue_grows()
        machines = self.machines_join()
        self.values_steer(machines)
        self.revocation_loses_nothing()
        self.lease_is_renewed()
        self.administrator_drains()
        quiet.tell(7)
        self.all_is_given_back(blocker)
        self.stop_agent()

    def start_agent(self) -> None:
        """Start the daemon as an administrator would."""
        log = (self.out / AGENT_LOG).open("wb")
        esagent = str(Path(sys.executable).with_name("esagent"))
        command = [esagent, "run", "--config", str(self.bed.bedfile.agent_conf)]
        # With the mark, it is ended with the test bed even if this is killed.
        environment = {**os.environ, MARKER: self.bed.instance.id}
        self.agent = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        log.close()
        wait_until_ready(
            "esagent run", self.agent, self.agent_logs, lambda: "no daemon" not in self.esagent("status")
        )
        self.say("agent", f"esagent run --config {self.bed.bedfile.agent_conf}")

    def queue_grows(self) -> str:
        """Step 1."""
        self.chapter(1, "The queue is longer than the permanent node can take")
        blocker = self.submit("sleep 400", "--cpus-per-task=2", "--job-name=permanent", "--nodelist=n1")
        self.wait("the first job runs", lambda: self.job(blocker, "JobState") == "RUNNING")
        self.jobs = [
            self.submit("sleep 12", "--cpus-per-task=2", "--time=2", f"--job-name=work{n}") for n in range(3)
        ]
        self.say("user", f"sbatch: jobs {', '.join(self.jobs)}, two CPUs each; job {blocker} fills n1")
        pending = self.slurm("squeue", "-h", "-t", "PENDING", "-o", "%i").split()
        self.claim("jobs wait for resources", "squeue", f"{len(pending)} pending", len(pending) == 3)
        return blocker

    def machines_join(self) -> list[str]:
        """Step 2."""
        self.chapter(2, "The agent borrows machines, waits for them to boot and joins each over SSH")
        journal = self.bed.cloudlab.journal
        self.wait("CreateSliver", lambda: journal.calls(method="CreateSliver"))
        self.say("agent", "registered the slice at the SA, and asked the CM for a sliver with all three")
        self.wait("three machines held", lambda: len(self.held()) == 3)
        machines = self.held()
        self.claim(
            "three machines are borrowed", "Cloudlab's journal", " ".join(machines), len(machines) == 3
        )
        self.wait("all joined", lambda: set(machines) <= set(self.slurm_nodes()))
        self.say("agent", "joined them: slurmd runs on each, under its own host name")
        done = self.wait(
            "the jobs end", lambda: all(self.job(j, "JobState") == "COMPLETED" for j in self.jobs)
        )
        where = [self.job(j, "NodeList") for j in self.jobs]
        self.claim(
            "the waiting jobs ran on them",
            "scontrol show job",
            " ".join(where),
            done and set(where) <= set(machines),
        )
        return machines

    def values_steer(self, machines: list[str]) -> None:
        """Step 3."""
        self.chapter(3, "Cloudlab says how much it wants each machine; jobs go to the one it wants least")
        values = dict(zip(machines, (0.9, 0.1, 0.5), strict=True))
        for node, value in values.items():
            self.bed.cloudlab.value(node, value)
        self.say("Cloudlab", "SetResourceValues " + ", ".join(f"{n}={v}" for n, v in values.items()))
        by_value = sorted(machines, key=lambda n: values[n])

        def weights() -> list[int]:
            return [int(self.node(n, "Weight")) for n in by_value]

        self.wait("weights follow", lambda: sorted(set(weights())) == weights())
        told = ", ".join(f"{n}={w}" for n, w in zip(by_value, weights(), strict=True))
        self.claim(
            "weights order the machines by value",
            "scontrol show node",
            told,
            sorted(set(weights())) == weights(),
        )
        job = self.submit("sleep 3", "--cpus-per-task=2", "--time=2", "--job-name=least-wanted")
        self.wait("it runs", lambda: self.job(job, "JobState") in {"RUNNING", "COMPLETED"})
        where = self.job(job, "NodeList")
        self.claim(
            "a new job lands where Cloudlab wants least", "scontrol show job", where, where == by_value[0]
        )

    def revocation_loses_nothing(self) -> None:
        """Step 4."""
        self.chapter(4, "Cloudlab takes a busy machine back, and no work is lost")
        long = self.submit(LONG_JOB, "--cpus-per-task=1", "--time=30", "--job-name=long")
        self.wait("the long job runs", lambda: self.job(long, "JobState") == "RUNNING")
        node = self.job(long, "NodeList")
        short = self.submit(
            "sleep 25", "--cpus-per-task=1", "--time=1", "--job-name=short", f"--nodelist={node}"
        )
        self.wait("the short job runs", lambda: self.job(short, "JobState") == "RUNNING")
        self.say("user", f"jobs {long} (may run for 30 minutes) and {short} (limit 1 minute) run on {node}")
        revoked = time.time()
        self.bed.cloudlab.revoke(node, REVOKE_IN)
        self.say("Cloudlab", f"NotifyDeletePending {node}, max_wait_time {REVOKE_IN:g}")
        self.wait("it drains", lambda: "DRAIN" in self.node(node, "State"))
        reason = self.slurm("sinfo", "-h", "-n", node, "-o", "%E")
        self.claim(
            "the machine drains, with the deadline as reason", "sinfo", reason, "esagent: revoked" in reason
        )
        self.wait("the short job ends", lambda: self.job(short, "JobState") == "COMPLETED")
        told = f"{self.job(short, 'JobState')} on {self.job(short, 'NodeList')}"
        self.claim(
            "the job that fits finishes there", "scontrol show job", told, told == f"COMPLETED on {node}"
        )
        self.wait("the long job is requeued", lambda: self.job(long, "Restarts") == "1")
        left = REVOKE_IN - (time.time() - revoked)
        self.claim(
            "the job that does not fit is requeued in time",
            "scontrol show job",
            f"{left:.0f} s before the deadline",
            left > 0,
        )
        journal = self.bed.cloudlab.journal
        self.wait("the machine is taken", lambda: node not in self.held())
        released = next(
            (c.time for c in journal.callbacks(method="NotifyDeletePending") if node in c.released), None
        )
        early = REVOKE_IN - (released - revoked) if released else -1.0
        self.claim(
            "the machine is released before the deadline",
            "Cloudlab's journal",
            f"{early:.0f} s early",
            early > 0,
        )
        cleaned = (self.bed.machines.last_words(node) if released else "").strip()
        self.claim("the delete commands ran on it over SSH", "the machine's disk", cleaned, "left" in cleaned)
        self.wait("Cloudlab says complete", lambda: journal.callbacks(method="NotifyDeleteComplete"))
        taken = [c for c in journal.callbacks(method="NotifyDeleteComplete") if c.code == 0]
        told = "NotifyDeleteComplete, answered with code 0" if taken else "nothing"
        self.claim("Cloudlab took it and said so", "Cloudlab's journal", told, taken)
        self.wait("the record goes", lambda: node not in self.slurm_nodes())
        self.claim(
            "the node is gone from Slurm",
            "sinfo",
            " ".join(self.slurm_nodes()),
            node not in self.slurm_nodes(),
        )
        self.wait("the long job ends", lambda: self.job(long, "JobState") == "COMPLETED")
        told = f"{self.job(long, 'JobState')} on {self.job(long, 'NodeList')}"
        self.claim(
            "the requeued job ends elsewhere",
            "scontrol show job",
            told,
            told.startswith("COMPLETED") and node not in told,
        )

    def lease_is_renewed(self) -> None:
        """Step 5: it goes on since the beginning."""
        self.chapter(5, "Meanwhile the lease was renewed: at the SA first, then at the CM")
        journal = self.bed.cloudlab.journal

        def renewals() -> list[str]:
            return [c.authority.rsplit("+", 1)[-1] for c in journal.calls(method="RenewSlice") if c.code == 0]

        self.wait("both are renewed", lambda: {"sa", "cm"} <= set(renewals()))
        self.claim(
            "SA before CM",
            "Cloudlab's journal",
            " then ".join(renewals()[:2]),
            renewals()[:2] == ["sa", "cm"],
        )
        for authority, (before, after) in self.bed.cloudlab.expiry_moves().items():
            told = f"{_clock(before)} -> {_clock(after)}"
            self.claim(f"the expiry at the {authority} moved", "Cloudlab's records", told, after > before)

    def administrator_drains(self) -> None:
        """Step 6."""
        self.chapter(6, "The administrator empties a machine, keeps it, and brings it back")
        node = next(n for n in self.held() if n in self.slurm_nodes())
        self.say("admin", f"esagent drain {node} --reason 'look at the disk'")
        self.say("esagent", self.esagent("drain", node, "--reason", "look at the disk"))
        self.wait("drained", lambda: "DRAIN" in self.node(node, "State"))
        reason = self.slurm("sinfo", "-h", "-n", node, "-o", "%T %E")
        self.claim(
            "it is drained and kept", "sinfo", reason, reason.startswith("drained") and node in self.held()
        )
        self.say("admin", f"esagent resume {node}")
        self.say("esagent", self.esagent("resume", node))
        back = self.wait("back", lambda: self.slurm("sinfo", "-h", "-n", node, "-o", "%T") == "idle")
        self.claim("it is back in service", "sinfo", self.slurm("sinfo", "-h", "-n", node, "-o", "%T"), back)

    def all_is_given_back(self, blocker: str) -> None:
        """Step 8."""
        self.chapter(8, "The queue is empty: the machines go back")
        self.slurm("scancel", blocker)
        self.say("user", f"scancel {blocker}: nothing is left in the queue")
        self.wait("nothing is held", lambda: not self.held())
        self.claim("nothing is held", "Cloudlab's records", " ".join(self.held()) or "none", not self.held())
        self.wait("only n1 is left", lambda: self.slurm_nodes() == ["n1"])
        self.claim(
            "only the permanent node is left",
            "sinfo",
            " ".join(self.slurm_nodes()),
            self.slurm_nodes() == ["n1"],
        )

    def stop_agent(self) -> None:
        """End the daemon as an init system would."""
        assert self.agent is not None
        asked = time.monotonic()
        self.agent.send_signal(signal.SIGTERM)
        try:
            status: object = self.agent.wait(10)
        except subprocess.TimeoutExpired:
            status = "did not end"
        took = time.monotonic() - asked
        self.claim(
            "SIGTERM ends the agent cleanly",
            "its exit status",
            f"{status} after {took:.1f} s",
            status == 0 and took < 5,
        )

    def kill_agent(self) -> None:
        """Leave no process behind when the story broke off."""
        if self.agent is not None and self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait()


def _clock(when: datetime) -> str:
    return when.strftime("%H:%M:%S")


@faults_told("demo")
def main() -> int:
    """Set the test bed up, tell the story, clean up."""
    parser = argparse.ArgumentParser(prog="python -m testbed.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="where the log and the table go")
    out: Path = parser.parse_args().out.resolve()
    with TestBed(out / "bed", speed=SPEED, slurm=release.wanted()) as bed:
        for name in (AGENT_LOG, *claims.FILES):
            (out / name).unlink(missing_ok=True)
        demo = Demo(bed, out)
        try:
            demo.run()
        finally:
            demo.kill_agent()
            ok = claims.close(demo.claims, demo.console, out)
    print(f"\n{'Every claim holds' if ok else 'NOT every claim holds'}; log and table: {out}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
