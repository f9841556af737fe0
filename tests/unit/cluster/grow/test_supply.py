"""What can be had, shared out among the CMs."""

from agent.cluster.grow.supply import divide


def test_machines_are_shared_out_by_the_order_of_the_cms() -> None:
    spare = {("small", "one"): 2, ("small", "two"): 9, ("big", "two"): 1}
    assert divide({"small": 3, "big": 4}, spare, ["one", "two", "three"]) == {
        ("small", "one"): 2,
        ("small", "two"): 1,
        ("big", "two"): 1,
    }
