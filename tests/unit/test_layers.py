"""Who may import whom: the core knows nobody, and the two outside worlds do not know each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "core": {"agent.core"},
    "cloudlab": {"agent.core", "agent.cloudlab"},
    "slurm": {"agent.core", "agent.slurm"},
}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.split(".")[0] in {"agent", "testbed"}}


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_what_its_layer_may_know(package: str) -> None:
    modules = sorted((ROOT / "agent" / package).rglob("*.py"))
    assert modules
    for module in modules:
        for name in imports_of(module):
            assert any(name == a or name.startswith(a + ".") for a in ALLOWED[package]), f"{module}: {name}"


def test_the_product_never_imports_the_test_bed() -> None:
    for module in (ROOT / "agent").rglob("*.py"):
        assert not {n for n in imports_of(module) if n.split(".")[0] == "testbed"}, module


def test_only_the_composition_root_knows_both_worlds() -> None:
    for module in (ROOT / "agent").glob("*.py"):
        worlds = {n.split(".")[1] for n in imports_of(module) if n.count(".")} & {"cloudlab", "slurm"}
        assert len(worlds) < 2 or module.name in {"daemon.py", "config.py"}, module


def test_the_command_line_knows_only_the_local_api_when_it_starts() -> None:
    known = {"agent.cli", "agent.core.errors", "agent.core.events"}
    for module in (ROOT / "agent" / "cli").glob("*.py"):
        at_start = [n for n in ast.parse(module.read_text()).body if isinstance(n, ast.ImportFrom)]
        for name in (n.module or "" for n in at_start):
            is_ours = name.split(".")[0] == "agent"
            assert not is_ours or any(name == k or name.startswith(k + ".") for k in known), (
                f"{module}: {name}"
            )
