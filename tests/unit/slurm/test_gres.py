"""Generic resources as counts."""

import pytest

from agent.slurm.gres import offered_gres, parse_gres, take_gres


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
        ("gpu:3090:2", {"gpu:3090": 2}),
        ("gpu:3090", {"gpu": 3090}),
        ("gpu:1g.10gb:4", {"gpu:1g.10gb": 4}),
        ("gpu:1g.10gb", {"gpu:1g.10gb": 1}),
        ("gpu:1g", {"gpu": 1 << 30}),
        ("gpu:1g:2", {"gpu:1g": 2}),
        ("gpu:1g.5gb+me:1(S:0-1),gpu:h100-80c.v2:1", {"gpu:1g.5gb+me": 1, "gpu:h100-80c.v2": 1}),
        ("gpu:2(IDX:0-1)", {"gpu": 2}),
        ("gpu:a100:2(IDX:0,3)", {"gpu:a100": 2}),
        ("gpu:a100:0,shard:0", {}),
        ("gres/gpu:3090=2,gres/gpu=2", {"gpu:3090": 2, "gpu": 2}),
        ("gres:gpu:3090:2", {"gpu:3090": 2}),
        ("ram:4T,disk:2P,net:3KB,bus:3KiB", {"ram": 4 << 40, "disk": 2 << 50, "net": 3000, "bus": 3072}),
        ("net:no_consume:4G", {"net:no_consume": 4 << 30}),
        ("net:lustre:no_consume:4", {"net:lustre:no_consume": 4}),
    ],
)
def test_all_ways_to_write_them_are_read(text: str, found: dict[str, int]) -> None:
    assert parse_gres(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "gpu:2:a100",
        "two words",
        ":",
        "gpu:",
        "gpu::1",
        ":2",
        "gpu:a:b:2",
        "gpu:a100:2x",
        "gpu:a=b",
        "gpu(2",
        "2",
        "gpu:a100:",
    ],
)
def test_anything_else_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="generic resource"):
        parse_gres(text)


def test_a_request_without_a_type_leaves_the_typed_ones_to_those_that_need_them() -> None:
    offered = {"gpu:a": 1, "gpu:b": 1}
    assert take_gres(offered, {"gpu": 1, "gpu:a": 1}) == {"gpu:a": 0, "gpu:b": 0}
    assert take_gres(offered, {"gpu": 3}) is None
    assert take_gres(offered, {"gpu:c": 1}) is None


def test_what_is_never_used_up_stays_for_the_next() -> None:
    offered = parse_gres("net:lustre:no_consume:4,gpu:1")
    assert take_gres(offered, {"net": 4, "gpu": 1}) == {"net:lustre:no_consume": 4, "gpu": 0}
    assert take_gres(offered, {"net:lustre": 4}) == offered
    assert take_gres(offered, {"net": 5}) is None


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("gpu:2,shard:4:of:them", {"gpu": 2, "shard": 0}),
        ("gpu:a100:2(S:0),gpu:a100:2x,shard:4", {"shard": 4, "gpu": 0}),
        ("gres/gpu=many,shard:4", {"shard": 4, "gpu": 0}),
        ("gpu:3090:2", {"gpu:3090": 2}),
    ],
)
def test_what_cannot_be_read_hides_what_has_its_name_alone(text: str, offered: dict[str, int]) -> None:
    assert offered_gres(text) == offered
