# SPDX-License-Identifier: Apache-2.0
"""A package imports lower ones only: no two of them need each other. And every test is run."""

from __future__ import annotations

import ast
import fnmatch
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


def packages() -> dict[str, set[str]]:
    """By package (a folder or file of tinyfin) the others that it imports."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        needs = {name.split(".")[1] for name in imported(ast.parse(path.read_bytes()))}
        found.setdefault(package, set()).update(needs - {package, "__version__"})
    return found


def test_packages_have_an_order() -> None:
    order = list(TopologicalSorter(packages()).static_order())
    assert order.index("features") < order.index("training") < order.index("quantization")
    assert order.index("quantization") < order.index("evaluation") < order.index("cli")
    assert order.index("measure") < order.index("search") < order.index("cli")
    assert order.index("pack") < order.index("targets") < order.index("hil") < order.index("cli")


def test_two_packages_that_need_each_other_are_noticed() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({**packages(), "schema": {"cli"}}).prepare()


def test_pytest_looks_into_every_folder_of_tests(pytestconfig: pytest.Config) -> None:
    """It leaves out folders of ordinary names, "build" among them."""
    root = Path(__file__).resolve().parents[1]
    left_out = pytestconfig.getini("norecursedirs")
    for path in root.rglob("test_*.py"):
        for folder in path.relative_to(root).parts[:-1]:
            assert not any(fnmatch.fnmatch(folder, pattern) for pattern in left_out), path
