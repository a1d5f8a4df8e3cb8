# SPDX-License-Identifier: Apache-2.0
"""The stack that the generated header promises is what each core's image takes."""

from __future__ import annotations

from functools import cache

import pytest

from tests.support.process import need
from tinyfin import paths
from tinyfin.codegen.stacks import STACK_BYTES
from tinyfin.targets import build as building
from tinyfin.targets import catalogue
from tinyfin.targets.flash import target_pack
from tinyfin.targets.stack_bound import frames, stack_bound

PACK = paths.project_dir() / "models" / "payment" / "model.tfpack"
CALLS = (
    "tfin_open",
    "tfin_verify",
    "tfin_bind",
    "tfin_score",
    "tfin_apply_outcome",
    "tfin_apply_notice",
    "tfin_export_state",
    "tfin_import_state",
    "tfin_erase_card",
)
"""Calls that the terminal application makes, so that its image has them."""


@cache
def cores() -> dict[str, str]:
    """A target by the name that its core has in the table."""
    found: dict[str, str] = {}
    for target in catalogue.emulated().values():
        found.setdefault(target.core.upper().replace("-", "_"), target.name)
    return found


def test_every_core_is_in_the_table() -> None:
    assert set(STACK_BYTES) == set(cores())


@pytest.mark.parametrize("core", STACK_BYTES)
def test_no_call_takes_more(core: str) -> None:
    target = catalogue.get(cores()[core])
    need(target.compiler)
    image = building.build(target, pack=target_pack(PACK, target))
    assembler = frames(building.disassembly(image))
    found = {
        call: stack_bound(image.build_dir / "stack", assembler, function=call)[0] for call in CALLS
    }
    assert max(found, key=lambda call: found[call] or 0) == "tfin_open"
    assert found["tfin_open"] == STACK_BYTES[core]
    assert 100 < (found["tfin_score"] or 0) < STACK_BYTES[core]
