"""All that is known of the slice at one instant."""

from agent.core.model import Share


def test_what_has_become_ours_since_a_cm_was_read_is_free_no_more(make_bench):
    """So that no machine is asked for twice, and as many stay free to others as they should."""
    manager = make_bench().manager
    (cm,) = manager.cmlist
    for step in ("ensure_slice", "update_all", "update_available"):
        getattr(manager, step)()
    before = manager.facts()
    manager.create_sliver()
    (ours,) = manager.held()
    after = manager.facts()
    assert (before.shares[cm], after.shares[cm]) == (Share(10, 10), Share(9, 10))
    assert {n.node_id for n in before.free[cm]} - {n.node_id for n in after.free[cm]} == {ours.node_id}
