# SPDX-License-Identifier: Apache-2.0
"""`import tinyfin`: the names of docs/python.md, imported late, with types; its example runs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import tinyfin
from tinyfin import paths
from tinyfin.cli.evaluate import data_of
from tinyfin.errors import InputError

PAGE = paths.project_dir() / "docs" / "python.md"
CONFIG = """
[model]
epochs = 2
hidden = [8]
"""


def example() -> str:
    return PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


def test_the_page_has_every_name() -> None:
    named = re.findall(r"^\| `(\w+)[(.]", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(tinyfin.__all__) == sorted(tinyfin._HOMES)


@pytest.mark.parametrize("name", tinyfin.__all__)
def test_every_name_is_there_and_says_what_it_does(name: str) -> None:
    assert (getattr(tinyfin, name).__doc__ or "").strip()
    assert name in dir(tinyfin)


def test_types_and_late_imports_name_the_same_objects() -> None:
    tree = ast.parse(Path(tinyfin.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tinyfin.")
        for alias in node.names
    }
    assert typed == tinyfin._HOMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = tinyfin.trian


def test_importing_imports_nothing_large() -> None:
    code = "import sys, tinyfin; print([m for m in sys.modules if m in sys.argv[1].split()])"
    large = "numpy pyarrow pandas tensorflow pydantic click serial"
    done = subprocess.run(
        [sys.executable, "-c", code, large], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_the_example_runs(
    tmp_path: Path, small: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten lines, as they stand on the page."""
    assert sum(1 for line in example().splitlines() if line.strip()) <= 10
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tinyfin.toml").write_text(CONFIG)
    pd.read_parquet(small["data"]).iloc[:12_000].to_parquet("tx.parquet")
    space: dict[str, object] = {}
    exec(compile(example(), str(PAGE), "exec"), space)
    run = tinyfin.open_run("runs/first")
    assert run.read_json("run.json")["data"]["files"][0]["path"] == "table"
    with pytest.raises(InputError, match="table in memory"):
        data_of(run, ())
    assert len(pd.read_parquet("scores.parquet")) == 12_000
    rows = tinyfin.Transactions.from_table(space["table"], "tinyfin.toml")  # type: ignore[arg-type]  # exec
    assert len(rows) == 12_000
