"""Whether this agent acts: it does only where slurmctld is in charge."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core.errors import SlurmDownError
from agent.slurm.primary import Controller, Lookout, Standing, is_same_host, parse_ping, stand

BOTH = """\
Slurmctld(primary) at head1 is UP
Slurmctld(backup) at head2 is UP
"""
LOST = """\
Slurmctld(primary) at head1 is DOWN
Slurmctld(backup) at head2 is UP
*****************************************
** RESTORE SLURMCTLD DAEMON TO SERVICE **
*****************************************
"""
ONE, TWO = (
    (Controller("head1", up=True), Controller("head2", up=True)),
    (
        Controller("head1", up=False),
        Controller("head2", up=True),
    ),
)
NONE = (Controller("head1", up=False), Controller("head2", up=False))


def stands(*seen: tuple[Controller, ...], here: str) -> Standing:
    standing = Standing()
    for controllers in seen:
        standing = stand(standing, controllers, here)
    return standing


def test_a_ping_tells_the_controllers_in_their_order() -> None:
    assert parse_ping(BOTH) == ONE
    assert parse_ping(LOST) == TWO
    assert parse_ping("nothing of the kind") == ()


def test_host_names_are_the_same_with_and_without_their_domain() -> None:
    assert is_same_host("Head1", "head1.example.net")
    assert not is_same_host("head1", "head2")


def test_the_agent_acts_when_slurmctld_was_seen_in_charge_here_twice() -> None:
    assert not stands(ONE, here="head1").acts
    assert stands(ONE, ONE, here="head1").acts
    assert not stands(ONE, ONE, here="head2").acts


def test_the_agent_stops_at_once_when_another_one_is_in_charge() -> None:
    standing = stands(ONE, ONE, TWO, here="head1")
    assert not standing.acts
    assert str(standing) == "slurmctld is primary on head2"


def test_while_no_slurmctld_answers_all_stays_as_it_is() -> None:
    assert stands(ONE, ONE, NONE, (), here="head1").acts
    assert not stands(ONE, NONE, ONE, here="head1").acts
    assert str(stands(NONE, here="head1")) == "no slurmctld has answered yet"


@given(st.lists(st.sampled_from([ONE, TWO, NONE, ()]), max_size=20))
def test_of_two_agents_that_see_the_same_never_both_act(seen: list[tuple[Controller, ...]]) -> None:
    standings = [stands(*seen, here=host) for host in ("head1", "head2")]
    assert not all(standing.acts for standing in standings)


def test_a_backup_that_answers_a_ping_and_does_not_serve_yet_is_not_in_charge() -> None:
    serving = False

    def serves() -> None:
        if not serving:
            raise SlurmDownError("in standby mode")

    lookout = Lookout(lambda: LOST, serves, "head2", 1.0)
    assert not lookout.look().acts
    assert not lookout.look().acts
    serving = True
    assert not lookout.look().acts
    assert lookout.look().acts
    serving = False  # asked only before it begins
    assert lookout.look().acts
