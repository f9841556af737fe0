"""Which changes ``tools.mutants`` tries on a module: those of cosmic-ray that pay, and some that it lacks."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import parso
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

_OF_COSMIC_RAY = (
    # Another operator of a kind is caught by what catches one of these.
    *(f"ReplaceBinaryOperator_{it}" for it in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul")),
    *(f"ReplaceBinaryOperator_{it}" for it in ("Mod_Mul", "Pow_Mul", "BitOr_BitAnd", "BitAnd_BitOr")),
    # What turns a comparison round, and what moves its edge.
    *(f"ReplaceComparisonOperator_{it}" for it in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{it}" for it in ("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt")),
    *(f"ReplaceComparisonOperator_{it}" for it in ("Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")),
    *(f"ReplaceUnaryOperator_{it}" for it in ("Delete_Not", "Delete_USub", "UAdd_USub")),
    *("AddNot", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("NumberReplacer", "ZeroIterationForLoop", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak"),
    *("ExceptionReplacer", "RemoveDecorator"),
)
_SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
_PROSE = frozenset({"description", "repr"})
"""Arguments that tell people something, and decide nothing."""


@dataclass(frozen=True)
class Mutant:
    """A module with one change."""

    module: str
    """Path of the module."""
    where: str
    """Name of the function or class that has the change, with those around it; "" for the module itself."""
    line: str
    """The first line that is changed, without what it is indented by."""
    change: str
    """What it reads instead."""
    number: int
    """Of that line, from 1."""
    code: str
    """All of the changed module."""

    @property
    def name(self) -> tuple[str, str, str, str]:
        """What the list of equivalent mutants knows it by, wherever the line moves to."""
        return self.module, self.where, self.line, self.change


def mutants(module: str, code: str) -> Iterator[Mutant]:
    """Yield every mutant of a module that is still Python, each once."""
    seen = {code}
    operators: list[Any] = [get_operator(f"core/{name}")() for name in _OF_COSMIC_RAY]
    operators += [_Rewriting(rewrite) for rewrite in _REWRITES]
    for operator in operators:
        occurrence = 0
        while (changed := mutate_code(code, _Deciding(operator), occurrence)) is not None:
            occurrence += 1
            if changed not in seen and _is_python(changed):
                seen.add(changed)
                yield _mutant(module, code, changed)


def _is_python(code: str) -> bool:
    try:
        compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _mutant(module: str, code: str, changed: str) -> Mutant:
    old, new = code.splitlines(), changed.splitlines()
    number = next(n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    # With a decorator goes the empty line before it.
    first = next(n for n in range(number, len(old)) if old[n])
    line, change = old[first].strip(), new[number].strip()
    return Mutant(module, _scope(code, first + 1), line, change, first + 1, changed)


def _scope(code: str, line: int) -> str:
    scopes = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and min([node.lineno, *(d.lineno for d in node.decorator_list)]) <= line <= (node.end_lineno or 0)
    ]
    return ".".join(node.name for node in sorted(scopes, key=lambda node: node.lineno))


class _Deciding(Operator):  # type: ignore[misc]
    """Another operator, kept off what decides nothing.

    That is: annotations, what protocols declare, the arguments of decorators, descriptions, assertions (they
    tell mypy what is settled) and logs.
    """

    def __init__(self, other: Any) -> None:
        self._other = other

    def mutation_positions(self, node: Any) -> Any:
        """Tell where this node can be changed."""
        positions = list(self._other.mutation_positions(node))
        return positions if positions and _decides(node) else ()

    def mutate(self, node: Any, index: int) -> Any:
        """Change it at one of these places."""
        return self._other.mutate(node, index)

    @classmethod
    def examples(cls) -> tuple[()]:
        """Show none."""
        return ()


def _decides(node: Any) -> bool:
    if node.type == "operator" and node.parent.type in {"parameters", "param"}:
        return False
    # A decorator may be left out as a whole.
    child, parent = (node, node.parent) if node.type == "decorator" else (None, node)
    while parent is not None:
        match parent.type:
            case "tfpdef" | "decorator" | "assert_stmt":
                return False
            case "annassign" if parent.children[1] is child:
                return False
            case "funcdef" if child is not None and parent.annotation is child:
                return False
            case "argument" if getattr(parent.children[0], "value", "") in _PROSE:
                return False
            case "classdef" if "Protocol" in _bases(parent):
                return False
            case "simple_stmt" if parent.get_code(include_prefix=False).startswith("log."):
                return False
        child, parent = parent, parent.parent
    return True


def _bases(node: Any) -> str:
    bases = node.get_super_arglist()
    return bases.get_code() if bases else ""


class _Rewriting(Operator):  # type: ignore[misc]
    """An operator that gives some children of a node another text.

    Args:
        rewrite: tells each way to do that: number of the child -> text.
    """

    def __init__(self, rewrite: Callable[[Any], Iterator[dict[int, str]]]) -> None:
        self._rewrite = rewrite

    def mutation_positions(self, node: Any) -> Any:
        """Tell where this node can be changed."""
        return [(node.start_pos, node.end_pos) for _ in self._rewrite(node)]

    def mutate(self, node: Any, index: int) -> Any:
        """Change it at one of these places."""
        for child, text in list(self._rewrite(node))[index].items():
            node.children[child] = parso.parse(text)
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        """Show none."""
        return ()


def _in_or_not_in(node: Any) -> Iterator[dict[int, str]]:
    if node.type == "comparison":
        for n in range(1, len(node.children), 2):
            words = node.children[n].get_code().split()
            if words[-1] == "in":
                yield {n: " not in" if words == ["in"] else " in"}


def _take_what_is_left_out(node: Any) -> Iterator[dict[int, str]]:
    if node.type == "comp_if":
        yield {1: f" not ({node.children[1].get_code().strip()})"}


def _drop_operand(node: Any) -> Iterator[dict[int, str]]:
    if node.type in {"and_test", "or_test"}:
        yield {0: "", 1: ""}
        yield from ({n - 1: "", n: ""} for n in range(2, len(node.children), 2))


def _swap_call(node: Any) -> Iterator[dict[int, str]]:
    if node.type in {"atom_expr", "power"} and node.children[1].get_code().startswith("("):
        called = node.children[0]
        if called.type == "name" and called.value in _SWAPPED:
            yield {0: called.prefix + _SWAPPED[called.value]}


def _change_text(node: Any) -> Iterator[dict[int, str]]:
    if node.type not in {"simple_stmt", "file_input"}:
        for n, child in enumerate(getattr(node, "children", ())):
            if child.type == "string":
                # As quotes go inside an f-string.
                quote = child.value[-1]
                yield {n: f"{child.prefix}{quote}XX{quote} {child.value}"}


def _forget(node: Any) -> Iterator[dict[int, str]]:
    if node.type == "simple_stmt":
        first = node.children[0]
        is_assignment = first.type == "expr_stmt" and "=" in first.get_code()
        is_raise = first.type == "raise_stmt" or first.get_code().strip() == "raise"
        if is_assignment or is_raise or first.type in {"atom_expr", "power", "del_stmt"}:
            yield {0: node.get_first_leaf().prefix + "pass"}


def _return_none(node: Any) -> Iterator[dict[int, str]]:
    """Leave alone what is as good as false."""
    if node.type == "return_stmt" and len(node.children) == 2:
        value = node.children[1].get_code().strip()
        if value not in {"None", "False", "0", '""', "()", "{}", "[]"}:
            yield {1: " None"}


_REWRITES = (
    _in_or_not_in,
    _take_what_is_left_out,
    _drop_operand,
    _swap_call,
    _change_text,
    _forget,
    _return_none,
)
