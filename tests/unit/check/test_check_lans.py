"""Whether the LANs that added machines are to join are in the slice."""

from agent.check.cloudlab import check_lans
from agent.check.finding import Grade
from agent.core.model import Lan, LanPort, Sliver

HERE, THERE, NOWHERE = "urn:here", "urn:there", "urn:nowhere"


class Slices:
    """CMs of which the last holds nothing for us."""

    cms = (HERE, THERE, NOWHERE)

    def find_sliver(self, cm: str) -> Sliver | None:
        lans = {HERE: (Lan("lan-0", (LanPort("lan-0", "10.10.1.1"),)),), THERE: (Lan("other"),)}
        return Sliver(cm, "urn:sliver", None, (), "<rspec/>", lans=lans[cm]) if cm in lans else None


def test_each_cm_that_holds_something_has_to_have_the_lans() -> None:
    found, missing = check_lans(Slices(), ["lan-0"])  # type: ignore[arg-type]
    assert (found.grade, found.subject, found.seen) == (
        Grade.FINE,
        "LANs at urn:here",
        "lan-0: new machines can join",
    )
    assert (missing.grade, missing.mend) == (Grade.FAULT, "see [request] lans")
    assert missing.seen.startswith(
        "LAN 'lan-0' is not in the slice at urn:there; expected one that is there, which are: other."
    )
