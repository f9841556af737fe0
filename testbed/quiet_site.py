"""The demo's chapter about a site of 2021: nobody calls, a renewal is refused, the lease is the deadline."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from testbed.cloudlab import DEFAULT_SITES, Site

if TYPE_CHECKING:
    from testbed.demo import Demo

FULL, QUIET = DEFAULT_SITES
"""The site that has no machine to spare at first, and the one that calls nobody."""
LEASE = 95.0
"""Real seconds for which the quiet site lends at first."""
NINETY_DAYS = 90 * 86400.0
REFUSED = "Extension refused by reservation system"


class QuietSite:
    """Tells the chapter on a running test bed.

    Args:
        demo: whose chapter it is.
        script: a job that is long at first, and short once it was requeued.
    """

    def __init__(self, demo: Demo, script: str) -> None:
        self.demo = demo
        self.cloudlab = demo.bed.cloudlab
        self.script = script

    def wait_for_its_chapter(self) -> None:
        """Have the site lend nothing: of what comes before, it could not tell the agent."""
        self._spare(QUIET, "class")

    def tell(self, number: int) -> None:
        """Tell it all."""
        words = "A newer server calls nobody: the end of its lease is the deadline, and no work is lost"
        self.demo.chapter(number, words)
        self.make_room()
        self.borrow()
        self.see_refusal()
        self.see_emptied()
        self.see_replaced()

    def make_room(self) -> None:
        """Leave the agent without a machine, and with one site alone where it can borrow."""
        demo = self.demo
        if idle := demo.held():
            demo.say("admin", f"esagent drain {' '.join(idle)} --release")
            demo.esagent("drain", *idle, "--release", "--reason", "make room")
        demo.wait("nothing is held", lambda: not demo.held())
        self._spare(FULL, "class")
        self._spare(QUIET, "")
        self.cloudlab.rules.lifetime(QUIET.domain, LEASE)
        words = f"{FULL.domain} has no machine to spare; {QUIET.domain} lends for {LEASE:g} s at first"
        demo.say("Cloudlab", words)
        since = time.time()

        def looked() -> bool:
            calls = self.cloudlab.journal.calls("DiscoverResources", code=0)
            asked = {call.authority for call in calls if call.time - call.seconds > since}
            return asked >= {FULL.urn, QUIET.urn}

        demo.wait("the agent looks", looked)

    def borrow(self) -> None:
        """Have a machine borrowed at the quiet site, which is then reserved for others."""
        demo = self.demo
        options = ("--cpus-per-task=1", "--time=30", "--job-name=long-lease")
        self.long = demo.submit(self.script, *options)
        self.short = demo.submit("sleep 40", "--cpus-per-task=1", "--time=1", "--job-name=short-lease")
        demo.wait("a machine is held", demo.held)
        self.node = " ".join(demo.held())
        self.ends = self.cloudlab.expiry_moves()[f"CM {QUIET.domain}"][1]
        self.cloudlab.rules.lifetime(QUIET.domain, NINETY_DAYS)
        self.cloudlab.reserving.reserve(
            QUIET.domain,
            QUIET.hardware_type,
            len(QUIET.machines),
            # Reservations begin at whole seconds, and this one not before the lease has ended.
            after=self.left() + 1,
            seconds=86400,
            project="class",
        )
        self._spare(FULL, "")
        words = (
            f"all of {QUIET.domain} is reserved for a class from {_clock(self.ends)} on, when the lease ends"
        )
        demo.say("Cloudlab", f"{words}; {FULL.domain} has machines again")
        both = (self.long, self.short)
        demo.wait("both jobs run", lambda: all(demo.job(job, "JobState") == "RUNNING" for job in both))
        where = {demo.job(job, "NodeList") for job in both}
        words = (
            f"jobs {self.long} (may run for 30 minutes) and {self.short} (limit 1 minute) run on {self.node}"
        )
        demo.say("user", words)
        demo.claim(
            "jobs run on a machine of the newer server", "scontrol show job", " ".join(where),
            where == {self.node} and self.node in QUIET.machines,
        )  # fmt: skip

    def see_refusal(self) -> None:
        """See the one notice that such a server gives."""
        demo = self.demo

        def refusals() -> list[str]:
            calls = self.cloudlab.journal.calls("RenewSlice", authority=QUIET.urn, code=7)
            return [call.output for call in calls if REFUSED in call.output]

        demo.wait("the renewal is refused", refusals)
        told = refusals()[-1] if refusals() else "nothing"
        demo.claim("its reservation system refuses the renewal", "Cloudlab's journal", told, refusals())

    def see_emptied(self) -> None:
        """See the machine emptied as on a notice, and given back."""
        demo, node = self.demo, self.node
        demo.wait("it drains", lambda: "DRAIN" in demo.node(node, "State"))
        reason = demo.slurm("sinfo", "-h", "-n", node, "-o", "%E")
        demo.claim(
            "the machine drains before its lease ends, as on a notice", "sinfo", reason,
            "esagent: its lease ends" in reason,
        )  # fmt: skip
        demo.wait("the short job ends", lambda: demo.job(self.short, "JobState") == "COMPLETED")
        told = f"{demo.job(self.short, 'JobState')} on {demo.job(self.short, 'NodeList')}"
        demo.claim(
            "the job that fits finishes there too", "scontrol show job", told, told == f"COMPLETED on {node}"
        )
        demo.wait("the long job is requeued", lambda: demo.job(self.long, "Restarts") == "1")
        left = self.left()
        demo.claim(
            "the job that does not fit is requeued before the lease ends", "scontrol show job",
            f"{left:.0f} s before", left > 0,
        )  # fmt: skip
        demo.wait("it is given back", lambda: node not in demo.held())
        spans = self.cloudlab.journal.held(node, authority=QUIET.urn)
        early = self.ends.timestamp() - spans[-1].end
        demo.claim(
            "the empty machine is given back before that", "Cloudlab's journal",
            f"{spans[-1].cause}, {early:.0f} s before", spans[-1].cause != "expired" and early > 0,
        )  # fmt: skip
        calls = [call for call in self.cloudlab.journal.callbacks() if call.authority == QUIET.urn]
        demo.claim("that site never called", "Cloudlab's journal", f"{len(calls)} callbacks", not calls)

    def see_replaced(self) -> None:
        """See the work end on a machine of the other site."""
        demo = self.demo
        demo.wait("the long job ends", lambda: demo.job(self.long, "JobState") == "COMPLETED")
        where = demo.job(self.long, "NodeList")
        told = f"{demo.job(self.long, 'JobState')} on {where}"
        demo.claim(
            "the requeued job ends on a machine of the other site", "scontrol show job", told,
            told.startswith("COMPLETED") and where in FULL.machines,
        )  # fmt: skip

    def _spare(self, site: Site, project: str) -> None:
        """Set all machines of a site aside for a project; "" for nobody."""
        for machine in site.machines:
            self.cloudlab.reserving.promise(machine, project)

    def left(self) -> float:
        """Real seconds until the lease ends."""
        return self.ends.timestamp() - time.time()


def _clock(when: datetime) -> str:
    return when.strftime("%H:%M:%S")
