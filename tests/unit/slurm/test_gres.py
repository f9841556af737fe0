"""Generic resources as counts."""

import pytest

from agent.slurm.gres import parse_gres, take_gres


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("(null)", {}),
        ("gpu", {"gpu": 1}),
        ("gpu:2", {"gpu": 2}),
        ("gres:gpu:2", {"gpu": 2}),
        ("gres/gpu=2", {"gpu": 2}),
        ("gres/gpu:a100=2", {"gpu:a100": 2}),
        ("gpu:a100:2(S:0,1),gpu:a100:1,shard:1K", {"gpu:a100": 3, "shard": 1024}),
    ],
)
def test_all_ways_to_write_them_are_read(text: str, found: dict[str, int]) -> None:
    assert parse_gres(text) == found


@pytest.mark.parametrize("text", ["gpu:2:a100", "two words", "gpu;1", ":", "gpu:1.5"])
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="generic resource"):
        parse_gres(text)


def test_a_request_without_a_type_leaves_the_typed_ones_to_those_that_need_them() -> None:
    offered = {"gpu:a": 1, "gpu:b": 1}
    assert take_gres(offered, {"gpu": 1, "gpu:a": 1}) == {"gpu:a": 0, "gpu:b": 0}
    assert take_gres(offered, {"gpu": 3}) is None
    assert take_gres(offered, {"gpu:c": 1}) is None
