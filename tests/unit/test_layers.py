"""Who may import whom, and who may do what: every room of agent/ knows only what its layer may know."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from agent.cloudlab import refusals

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "agent"

ALLOWED = {
    "core": {"core"},
    "cloudlab": {"cloudlab", "core"},
    "slurm": {"slurm", "core"},
    "ssh": {"ssh", "core"},
    "tell": {"tell", "core"},
    "ledger": {"ledger", "core"},
    "parts": {"cluster", "config", "core", "slurm"},
    "signals": set(),
    "service": {"core", "signals"},
    "cluster": {"cluster", "core", "slurm"},
    "page": {"page", "core", "cluster"},
    "admin": {"admin", "core", "cluster", "slurm", "tell"},
    "check": {
        *("admin", "check", "cloudlab", "cluster", "config", "core", "ledger", "parts", "slurm", "ssh"),
        "tell",
    },
    "cli": {"cli", "admin", "check", "config", "core", "daemon", "tell"},
}
"""Room, or file beside them -> whom it may import. What builds may import all: daemon, standby, config."""
WAYS_IN = ("agent.slurm.cli", "agent.slurm.rest", "agent.slurm.pyslurm")
CHOOSERS = ("agent.slurm.choice", "agent.slurm.rechooser")
PURE = (
    "cluster.drain.ended",
    "cluster.drain.figures",
    "cluster.drain.foresight",
    "cluster.drain.held",
    "cluster.drain.following",
    "cluster.drain.jobs",
    "cluster.drain.nodes",
    "cluster.drain.refusals",
    "cluster.drain.saving",
    "cluster.drain.wanted",
    "cluster.grow.alike",
    "cluster.grow.by_name",
    "cluster.grow.demand",
    "cluster.grow.horizon",
    "cluster.grow.lenders",
    "cluster.grow.limits",
    "cluster.grow.misdescribed",
    "cluster.grow.moving",
    "cluster.grow.packing",
    "cluster.grow.places",
    "cluster.grow.refusals",
    "cluster.grow.shapes",
    "cluster.grow.reserved",
    "cluster.grow.supply",
    "cluster.grow.wrong",
    "cluster.grow.wish",
    "cluster.grow.unmet",
    "cluster.grow.there",
    "cluster.grow.share",
    "cluster.grow.rooms",
    "cluster.grow.machine",
    "cluster.grow.choosing",
    "cluster.join.plan",
    "cluster.join.proof",
    "cluster.join.remains",
    "cluster.job_comment",
    "cluster.moment",
    "cluster.naming",
    "cluster.power.power",
    "cluster.reasons",
    "cluster.settings.cluster",
    "cluster.settings.demand",
    "cluster.settings.drain",
    "cluster.settings.join",
    "cluster.settings.plugin",
    "cluster.settings.weights",
    "cluster.shape",
    "cluster.shrink.surplus",
    "cluster.steer.weights",
    "cluster.wishes.going",
    "cluster.wishes.outlived",
    "core.cycle.schedule",
    "core.errors",
    "core.events",
    "core.impasse",
    "core.model",
    "core.notices.items",
    "core.request.complaint",
    "core.request.document",
    "core.request.images",
    "core.request.lans",
    "core.request.likeness",
    "core.request.rspec",
    "core.request.smaller",
    "core.request.startup",
    "core.request.tarballs",
    "core.said",
    "core.scaling.backoff",
    "core.scaling.choosing",
    "core.scaling.fewer",
    "core.scaling.thresholds",
    "core.settings",
    "core.slice.facts",
    "core.slice.words",
    "core.slice.machines",
    "core.slice.renewal",
    "core.slice.bisection",
    "core.slice.hindrance",
    "core.slice.outlook",
    "core.slice.sparing",
    "slurm.cli.refusals",
    "slurm.cli.endings",
    "slurm.cli.scheduling",
    "slurm.cli.scontrol",
    "slurm.cli.squeue",
    "slurm.constraint",
    "slurm.gres",
    "slurm.pyslurm.shapes",
    "slurm.json_shapes",
    "slurm.requeues",
    "slurm.own_signal",
    "slurm.signal_targets",
    "slurm.words",
    "admin.answers",
    "admin.names",
    "admin.requests",
    "check.ownership",
    "page.chart",
    "page.model",
    "page.standing",
    "page.words",
    "tell.causes",
)
"""Modules that only turn values into values: what they decide is told by their arguments alone."""
IMPURE = {
    "asyncio",
    "concurrent",
    "http",
    "multiprocessing",
    "os",
    "paramiko",
    "queue",
    "random",
    "requests",
    "select",
    "signal",
    "socket",
    "sqlite3",
    "subprocess",
    "tempfile",
    "threading",
    "time",
}
CLOCKS = {"monotonic", "now", "today", "utcnow"}
OUTSIDE = {"SlurmBackend", "agent.core.ports"}
"""What reaches Slurm, Cloudlab, the machines or the clock."""
REFUSALS = {
    *(part for _, part, _ in refusals._BY_WORDS),
    "-reserved",
    "could not map to",
    "must be",
    "refused cause",
}
"""What GeniCM and GeniSA say in English, in small letters."""
REFERENCE = {"create_rspec"}
"""Names of the reference's API, which the core keeps."""


@cache
def modules() -> Mapping[str, ast.Module]:
    """Return dotted name -> syntax of each module of the agent."""
    found = {}
    for path in AGENT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


@cache
def imports_of(tree: ast.AST) -> set[str]:
    """Return the dotted names of all that is imported, also inside functions; of modules where they are."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in modules() else str(node.module))
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found


def ours_of(name: str) -> set[str]:
    """Return the modules of the agent that one of them imports."""
    return {n for n in imports_of(modules()[name]) if is_in(n, "agent")}


def is_in(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def members_of(*packages: str) -> list[str]:
    found = sorted(name for name in modules() if is_in(name, *packages))
    assert found, f"there is no {packages}"
    return found


def arrows(sources: list[str], *targets: str, but: tuple[str, ...] = ()) -> list[str]:
    """Return what of these imports what of those, as words."""
    return [
        f"{source} imports {name}"
        for source in sources
        for name in sorted(ours_of(source))
        if name != "agent" and is_in(name, *targets) and not is_in(name, *but)
    ]


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_its_layer_may_know(room: str) -> None:
    allowed = tuple(f"agent.{name}" for name in ALLOWED[room])
    assert arrows(members_of(f"agent.{room}"), "agent", but=allowed) == []


def test_every_room_has_its_layer() -> None:
    rooms = {name.split(".")[1] for name in modules() if name.count(".")}
    assert rooms - set(ALLOWED) == {"config", "daemon", "standby"}


def test_the_product_never_imports_the_test_bed() -> None:
    assert [
        name for name, tree in modules().items() if any(is_in(n, "testbed") for n in imports_of(tree))
    ] == []


def test_only_what_builds_or_checks_all_knows_both_worlds() -> None:
    knowing = set()
    for name in modules():
        worlds = {n.split(".")[1] for n in ours_of(name) if n.count(".")}
        if "cloudlab" in worlds and worlds & {"slurm", "cluster"}:
            knowing.add(name)
    builders = {"agent.config", "agent.daemon", "agent.standby"}
    assert {name for name in knowing if not is_in(name, "agent.check")} <= builders


def test_the_borrowed_machines_know_no_way_in_to_slurm() -> None:
    assert arrows(members_of("agent.cluster"), *WAYS_IN, *CHOOSERS) == []


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_way_in_to_slurm_knows_no_other_and_not_who_chooses(way: str) -> None:
    others = [each for each in WAYS_IN if each != way]
    assert arrows(members_of(way), *others, *CHOOSERS) == []


def test_who_asks_or_looks_never_imports_a_thread_of_the_cluster() -> None:
    threads = [name for name in members_of("agent.cluster") if starts_a_thread(modules()[name])]
    assert len(threads) > 2
    assert arrows(members_of("agent.admin", "agent.page", "agent.check", "agent.cli"), *threads) == []


def starts_a_thread(tree: ast.AST) -> bool:
    ways = {"Thread", "threading.Thread", "threads.errand", "threads.keep", "threads.rely"}
    return any(isinstance(node, ast.Call) and ast.unparse(node.func) in ways for node in ast.walk(tree))


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_knows_no_thread_no_backend_and_no_clock(name: str) -> None:
    assert f"agent.{name}" in modules()
    tree = modules()[f"agent.{name}"]
    names = {n for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for n in named_by(node)}
    assert {n.split(".")[0] for n in imports_of(tree)} & IMPURE == set()
    assert (names | imports_of(tree)) & OUTSIDE == set()
    assert [ast.unparse(call) for call in calls_of(tree) if call.func.attr in CLOCKS] == []


def named_by(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}


def calls_of(tree: ast.AST) -> Iterator[ast.Call]:
    """Return the calls of methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


def test_nothing_of_what_cloudlab_says_in_english_is_in_the_core() -> None:
    found = [
        f"{name}: {refusal}: {text}"
        for name in members_of("agent.core")
        for text in sorted(words_of(modules()[name]))
        for refusal in sorted(REFUSALS)
        if refusal in text.lower()
    ]
    assert found == []


def test_only_core_request_reads_or_writes_rspecs() -> None:
    """What others of the core hand on is a request: a text that they do not look into."""
    found = []
    for name in members_of("agent.core"):
        tree = modules()[name]
        if is_in(name, "agent.core.request"):
            continue
        found += [
            f"{name} imports {n}" for n in sorted(imports_of(tree)) if is_in(n, "lxml", "xml", "defusedxml")
        ]
        found += [f"{name}: {word}" for word in sorted(words_of(tree)) if "rspec" in word.lower()]
    assert found == []


def words_of(tree: ast.AST) -> set[str]:
    """Return the names and texts of a module, without docstrings, imports and the reference's own names."""
    nodes = [node for node in ast.walk(tree) if not isinstance(node, ast.alias)]
    fields = [
        getattr(node, field, None) for node in nodes for field in ("id", "arg", "attr", "name", "value")
    ]
    return {word for word in fields if isinstance(word, str)} - texts_that_tell(tree) - REFERENCE


def texts_that_tell(tree: ast.AST) -> set[str]:
    """Return the texts that stand alone: docstrings, and what is said below an attribute."""
    return {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def room_of(name: str) -> str:
    """Return the room of a module: its folder, or itself where it stands beside folders."""
    folder = name if (ROOT / name.replace(".", "/")).is_dir() else name.rpartition(".")[0]
    has_rooms = any((each / "__init__.py").exists() for each in (ROOT / folder.replace(".", "/")).iterdir())
    return name if has_rooms else folder


def test_no_imports_between_rooms_go_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name in modules():
        graph.setdefault(room_of(name), set()).update(map(room_of, ours_of(name)))
    for room, known in graph.items():
        known.discard(room)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_the_command_line_knows_only_the_local_api_when_it_starts() -> None:
    for name in members_of("agent.cli"):
        at_start = [node for node in modules()[name].body if isinstance(node, ast.Import | ast.ImportFrom)]
        known = imports_of(ast.Module(at_start, []))
        allowed = ("agent.cli", "agent.core.errors", "agent.core.events")
        assert [n for n in known if is_in(n, "agent") and not is_in(n, *allowed)] == [], name
