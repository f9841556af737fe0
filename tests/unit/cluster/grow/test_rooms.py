"""A search finds what a look at each machine in turn finds, however much was taken meanwhile."""

from __future__ import annotations

import random

import pytest

from agent.cluster.grow.machine import all_of, fill, frame_of
from agent.cluster.grow.rooms import Room, Rooms, Search
from agent.cluster.grow.share import give, share_of
from agent.cluster.grow.wish import Wish, wishes_of
from agent.slurm.layout import Layout
from agent.slurm.model import Job
from agent.slurm.request import Request
from agent.slurm.scheduling import Scheduling, Unit


def drawn_wish(chance: random.Random) -> Wish:
    tasks, each = chance.choice([1, 1, 2, 8]), chance.choice([1, 2, 4])
    kind = chance.choice(["per_node", "per_job", "per_task"])
    gres = chance.choice(["", "", "gpu:1", "gpu:a100:2", "shard:20"])
    told = {"tasks": tasks, "cpus": tasks * each, "cpus_per_task": each, kind: gres}
    request = Request(**told)  # type: ignore[arg-type]
    job = Job(
        "1",
        "PENDING",
        partitions=("main",),
        cpus=tasks * each,
        memory=chance.choice([0, 500, 4000]),
        features=chance.choice(["", "big"]),
        exclusive=chance.random() < 0.2,
        request=request,
    )
    return wishes_of(job, Scheduling(unit=chance.choice([Unit.CORE, Unit.CPU, Unit.NODE])))[0]


@pytest.mark.parametrize("seed", range(20))
def test_a_search_finds_what_a_look_at_each_machine_finds(seed: int) -> None:
    chance = random.Random(seed)
    layout = Layout(sockets=2, cores=4, threads=2)
    found = []
    for number in range(60):
        features = frozenset(chance.choice([(), ("big",)]))
        frame = frame_of(16, 8000, layout, features, frozenset({"main"}), None)
        gres = chance.choice([(), (("gpu:a100", 2),), (("shard", 33),)])
        found.append((f"n{number}", all_of(frame, layout, gres), ""))
    rooms = Rooms(found)
    every = _rooms(rooms)
    searches = [(wish, Search(wish, wish.least_cpus)) for wish in (drawn_wish(chance) for _ in range(30))]
    for _ in range(300):
        wish, search = chance.choice(searches)
        without = {f"n{chance.randrange(60)}"}
        expected = [
            room.name
            for room in every
            if room.free and room.name not in without and share_of(room.left, wish) is not None
        ]
        options = list(search.options(rooms, without))
        assert [option.place.name for option in options] == expected
        if options:
            room, share = options[0]
            room.take(give(room.left, share, share.cpus, 1, {}, wish))
        if chance.random() < 0.05:
            left = found[chance.randrange(60)][1]
            every.append(rooms.add(left, "more"))


def _rooms(rooms: Rooms) -> list[Room]:
    """Return all of them in order, by way of a job that fits everywhere."""
    wish = wishes_of(Job("1", "PENDING", partitions=("main",), cpus=1), None)[0]
    return [option.place for option in Search(wish, 1).options(rooms, ())]


@pytest.mark.parametrize(
    ("cores", "left"),
    [(0, (2, 0, 3)), (1, (1, 0, 3)), (2, (0, 0, 3)), (3, (0, 0, 2)), (5, (0, 0, 0)), (9, (0, 0, 0))],
)
def test_the_first_sockets_fill_first(cores: int, left: tuple[int, ...]) -> None:
    assert fill((2, 0, 3), cores) == left
