# SPDX-License-Identifier: Apache-2.0
"""docs/migration.md leads to what is there, and only from what is gone."""

from __future__ import annotations

import importlib
import re

import pytest

from tinyfin import paths
from tinyfin.cli import VERBS

PAGE = (paths.project_dir() / "docs" / "migration.md").read_text(encoding="utf-8")


def rows(block: str) -> list[tuple[str, str]]:
    """The rows of a table: what was, and what is."""
    found = re.search(rf"<!-- {block} -->\n(.*?)<!-- /{block} -->", PAGE, re.DOTALL)
    assert found, f"the page has no block {block}"
    return re.findall(r"^\| `(.+)` \| `(.+)` \|$", found.group(1), re.MULTILINE)


def exists(module: str) -> bool:
    place = paths.project_dir().joinpath("tinyfin", *module.split("."))
    return (place / "__init__.py").is_file() or place.with_suffix(".py").is_file()


@pytest.mark.parametrize("block", ["packages", "modules"])
def test_modules_went_where_the_table_says(block: str) -> None:
    table = rows(block)
    assert len(table) > 5
    for was, now in table:
        assert exists(now), now
        assert not exists(was), was


def test_names_went_where_the_table_says() -> None:
    table = rows("names")
    assert len(table) > 3
    for _, now in table:
        module, _, name = now.partition("(")[0].rpartition(".")
        assert hasattr(importlib.import_module(f"tinyfin.{module}"), name), now


def test_commands_are_spelled_as_they_are_now() -> None:
    spelled = re.findall(r"\| `tinyfin [^`]*`[^|]*\| `tinyfin (\S+)[^`]*` \|", PAGE)
    assert len(spelled) > 3
    assert set(spelled) <= {verb for verb, _, _ in VERBS}
