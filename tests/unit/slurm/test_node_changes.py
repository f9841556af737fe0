"""What becomes of nodes where Slurm refuses, over a Slurm of our own making."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.core.errors import SlurmRefusedError
from agent.slurm import node_changes
from agent.slurm.model import Node
from agent.slurm.names import expand
from agent.slurm.words import UNKNOWN_NODE


class Slurm:
    """Acts as ``update_node`` does: stops at an unknown name, goes on after a state that it does not take."""

    def __init__(
        self, *names: str, refuses: frozenset[str] = frozenset(), lifts_all_the_same: bool = False
    ) -> None:
        self.nodes = {name: Node(name, "IDLE", frozenset({"DRAIN"})) for name in names}
        self.refuses = refuses
        self.lifts_all_the_same = lifts_all_the_same
        self.asked: list[str] = []

    def undrain(self, listed: str) -> None:
        self.asked.append(listed)
        error = ""
        for name in sorted(expand(listed)):
            if name not in self.nodes:
                error = UNKNOWN_NODE
                break
            if name in self.refuses:
                error = "Invalid node state specified"
            if name not in self.refuses or self.lifts_all_the_same:
                self.nodes[name] = replace(self.nodes[name], flags=frozenset())
        if error:
            raise SlurmRefusedError(error)

    def read(self) -> dict[str, Node]:
        return dict(self.nodes)

    def lift(self, *names: str) -> None:
        node_changes.change_nodes(names, self.undrain, self.read, node_changes.is_not_draining)


def test_what_is_not_refused_is_asked_once_and_not_looked_at() -> None:
    slurm = Slurm("n1", "n2")
    slurm.lift("n1", "n2")
    assert slurm.asked == ["n[1-2]"]


def test_who_may_change_no_node_is_told_that_also_of_one_that_is_not_there() -> None:
    def refuse(_: str) -> None:
        raise SlurmRefusedError("Invalid user id")

    with pytest.raises(SlurmRefusedError, match="Invalid user id"):
        node_changes.change_nodes(["n9"], refuse, Slurm("n1").read, node_changes.is_not_draining)


def test_an_unknown_name_costs_the_others_nothing_and_is_told() -> None:
    slurm = Slurm("n1", "n3")
    with pytest.raises(SlurmRefusedError, match=f"^n2: {UNKNOWN_NODE}$"):
        slurm.lift("n1", "n2", "n3")
    assert not any(node.draining for node in slurm.nodes.values())
    assert slurm.asked == ["n[1-3]", "n3"]


def test_a_name_that_slurm_does_not_know_hides_no_other_refusal() -> None:
    slurm = Slurm("n1", "n2", refuses=frozenset({"n1"}))
    with pytest.raises(SlurmRefusedError) as caught:
        slurm.lift("n1", "n2", "zz")
    assert str(caught.value) == f"n1: Invalid node state specified; zz: {UNKNOWN_NODE}"
    assert not slurm.nodes["n2"].draining


def test_a_refusal_of_what_was_done_is_none() -> None:
    slurm = Slurm("n1", "n2", refuses=frozenset({"n1", "n2"}), lifts_all_the_same=True)
    slurm.lift("n1", "n2")
    assert slurm.asked == ["n[1-2]"]


def test_a_hostlist_that_slurm_does_not_read_is_an_error_of_all_its_nodes() -> None:
    slurm = Slurm("n1", "n2")

    def refuse(listed: str) -> None:
        raise SlurmRefusedError(UNKNOWN_NODE)

    with pytest.raises(SlurmRefusedError, match=r"n\[1-2\]"):
        node_changes.change_nodes(["n1", "n2"], refuse, slurm.read, node_changes.is_not_draining)


class Records:
    """Node records; those that are busy stay."""

    def __init__(
        self, *names: str, busy: str = "", words: Callable[[str], str] = lambda name: UNKNOWN_NODE
    ) -> None:
        self.nodes = {name: Node(name, "IDLE") for name in names}
        self.busy = busy
        self.words = words

    def delete(self, listed: str) -> None:
        errors = []
        for name in sorted(expand(listed)):
            if name == self.busy:
                errors.append("Requested nodes are busy")
            elif self.nodes.pop(name, None) is None:
                errors.append(self.words(name))
        if errors:
            raise SlurmRefusedError(errors[-1])

    def read(self) -> dict[str, Node]:
        return dict(self.nodes)


def test_a_record_that_is_not_there_is_deleted() -> None:
    records = Records("n1")
    node_changes.delete_nodes(["n1", "n2"], records.delete, records.read)
    node_changes.delete_nodes(["n1"], records.delete, records.read)
    assert records.nodes == {}


def test_a_busy_record_is_told_though_slurms_last_word_is_of_another() -> None:
    records = Records("n1", "n2", busy="n1")
    with pytest.raises(SlurmRefusedError, match=r"^n1: Requested nodes are busy$"):
        node_changes.delete_nodes(["n1", "n2", "n3"], records.delete, records.read)
    assert list(records.nodes) == ["n1"]


def test_a_record_that_slurm_says_it_does_not_know_and_lists_is_not_deleted() -> None:
    records = Records("n1")

    def refuse(listed: str) -> None:
        raise SlurmRefusedError(UNKNOWN_NODE)

    with pytest.raises(SlurmRefusedError, match="n1"):
        node_changes.delete_nodes(["n1"], refuse, records.read)
