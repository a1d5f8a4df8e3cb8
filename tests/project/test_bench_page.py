# SPDX-License-Identifier: Apache-2.0
"""The committed benchmarks: made by the command, complete, and without a difference."""

from __future__ import annotations

import json
import re

import pytest

from tinyfin import paths
from tinyfin.targets import catalogue

PAGE = paths.project_dir() / "docs" / "benchmarks.md"
RESULT = PAGE.with_suffix(".json")

pytestmark = pytest.mark.skipif(not RESULT.is_file(), reason="`make bench` was not run yet")


def test_json_has_every_target_and_key() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert set(result) >= {"command", "tools", "reference", "targets", "features", "sizes"}
    assert result["command"] == "make bench"
    assert {found["target"] for found in result["targets"]} == set(catalogue.emulated())
    for found in result["targets"]:
        assert {"networks", "network_code", "opening", "budget"} <= set(found)
        assert len(found["networks"]) == 7
        for row in found["networks"]:
            assert {"goal", "floor", "times_floor", "tflm_cmsis_nn", "note"} <= set(row)
            assert not row.get("differing_bytes")
            assert row["instructions"] is not None or "do not fit" in row["note"]
        for opening in (found["opening"], found["opening_network"]):
            assert 0 < opening["open_instructions"] <= 2000 < opening["contents_instructions"]
        budget = found["budget"]
        assert budget["measured"]["max"] <= budget["instructions"]["bound"]
        assert budget["stack_painted_bytes"] <= budget["stack_bound_bytes"]


def test_page_is_of_the_same_run() -> None:
    """Targets with the same figures share a row: ``cortex-m33, m7``."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    told: dict[tuple[str, str], str] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in cells[0].split(", "):
            if len(cells) > 10:
                full = f"cortex-{name}" if re.fullmatch(r"m\d+", name) else name
                told.setdefault((full, cells[1]), cells[3])
    for found in result["targets"]:
        for row in found["networks"]:
            if row["instructions"] is not None:
                shown = told[found["target"], row["network"]]
                assert shown == f"{row['instructions']:,}", (found["target"], row["network"])
