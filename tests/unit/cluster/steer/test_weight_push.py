"""Setting a weight where Slurm refuses some of the nodes."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from agent.cluster.steer.weights import SetWeight, push_weights
from agent.core.errors import SlurmRefusedError


class FakeSlurm:
    def __init__(self, refused: Iterable[str]) -> None:
        self.refused = set(refused)
        self.weights: dict[str, int] = {}
        self.requests = 0

    def set_weight(self, nodes: Iterable[str], weight: int) -> None:
        self.requests += 1
        if bad := self.refused & set(nodes):
            raise SlurmRefusedError(", ".join(bad))
        self.weights.update(dict.fromkeys(nodes, weight))


def test_one_level_is_one_request() -> None:
    slurm = FakeSlurm(())
    done, errors = push_weights(slurm, SetWeight(("pc1", "pc2"), 7, "why"))  # type: ignore[arg-type]
    assert (done, errors, slurm.requests) == (("pc1", "pc2"), [], 1)


@given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30)))
def test_a_refused_node_costs_no_other(nodes: set[int], refused: set[int]) -> None:
    names = tuple(f"pc{n}" for n in sorted(nodes))
    slurm = FakeSlurm(f"pc{n}" for n in refused)
    done, errors = push_weights(slurm, SetWeight(names, 7, "why"))  # type: ignore[arg-type]
    assert set(done) == set(slurm.weights) == set(names) - slurm.refused
    assert len(errors) == len(nodes & refused)
