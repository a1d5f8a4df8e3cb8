# SPDX-License-Identifier: Apache-2.0
"""A room of the package imports earlier rooms only: no two of them need each other."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tinyfin

PACKAGE = Path(tinyfin.__file__).parent


def imported(tree: ast.AST) -> set[str]:
    """The modules and names of this package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("tinyfin.")}


def rooms() -> dict[str, set[str]]:
    """By room (a folder or file of the package) the others that it imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        needs = {name.split(".")[1] for name in imported(ast.parse(path.read_bytes()))}
        found.setdefault(room, set()).update(needs - {room, "__version__"})
    return found


def test_rooms_have_an_order() -> None:
    order = list(TopologicalSorter(rooms()).static_order())
    assert order.index("features") < order.index("training") < order.index("quantize")
    assert order.index("pack") < order.index("targets") < order.index("hil") < order.index("cli")


def test_two_rooms_that_need_each_other_are_noticed() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({**rooms(), "schema": {"cli"}}).prepare()
