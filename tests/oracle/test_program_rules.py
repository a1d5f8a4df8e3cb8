# SPDX-License-Identifier: Apache-2.0
"""What the engine asks of every operator with state before it runs a program: of new ones too."""

from __future__ import annotations

import struct
from contextlib import nullcontext

import pytest

from tests.oracle.operator_rig import SCHEMA, WITH_STATE
from tests.oracle.test_sabotage import every_operator
from tests.support.assembler import CODES, TERMINAL, state_bytes
from tests.support.native import opening
from tests.support.packs import pack
from tinyfin.errors import PackError
from tinyfin.features.check_program import check_program

A, B, C, WHEN, STATE, P2 = 3, 4, 5, 6, 8, 20
_TERMINAL_SIZE = 16


class Draft:
    """The program of every operator, and where ``name`` stands in it."""

    def __init__(self, name: str) -> None:
        program = every_operator()
        codes = [operator[0] for operator in program.score]
        self.payload = bytearray(program.payload())
        self.at = 64 + 24 * codes.index(CODES[name])
        self.unkept = program.score[codes.index(CODES["PRESENT"])][2]
        assert self.payload[self.at : self.at + 2] == bytes((CODES[name], TERMINAL))

    def opens(self) -> bool:
        """Whether the engine takes it; any other refusal than the program's is an error."""
        said = opening(pack(SCHEMA, bytes(self.payload)))
        assert said in ("", "TFIN_E_PROGRAM")
        return said == ""


@pytest.mark.parametrize("name", [*WITH_STATE, "KNOWN", "COMPROMISED"])
def test_a_commit_uses_only_what_was_kept(name: str) -> None:
    for place in (A, B, C):
        draft = Draft(name)
        draft.payload[draft.at + place] = draft.unkept
        assert not draft.opens(), f"{name} would commit a register that was not kept"
        draft.payload[draft.at + WHEN] = 0
        assert draft.opens(), "without a commit nothing has to be kept"


@pytest.mark.parametrize("name", [*WITH_STATE, "COMPROMISED"])
def test_state_ends_inside_its_block(name: str) -> None:
    draft = Draft(name)
    p2, p3 = struct.unpack_from("<HH", draft.payload, draft.at + P2)
    size, align = state_bytes(name, p2, p3)
    (block,) = struct.unpack_from("<I", draft.payload, _TERMINAL_SIZE)
    last = (block - size) // align * align
    struct.pack_into("<I", draft.payload, draft.at + STATE, last)
    assert draft.opens()
    struct.pack_into("<I", draft.payload, draft.at + STATE, last + align)
    assert not draft.opens(), f"{name} would write {size} bytes beyond its block"


@pytest.mark.parametrize(
    ("days", "right"), [(1, True), (128, True), (0, False), (-1, False), (-(2**15), False)]
)
def test_a_duration_is_a_day_or_more(days: int, right: bool) -> None:
    draft = Draft("COMPROMISED")
    (pool,) = struct.unpack_from("<I", draft.payload, 48)
    (at,) = struct.unpack_from("<i", draft.payload, draft.at + 12)
    struct.pack_into("<h", draft.payload, pool + at + 6, days)
    assert draft.opens() == right
    refused = pytest.raises(PackError, match="a duration is below 1 day")
    with nullcontext() if right else refused:
        check_program(bytes(draft.payload), [{"type": field.type} for field in SCHEMA.fields])


@pytest.mark.parametrize(("offset", "form", "value"), [(16, "<i", 0), (16, "<i", 5), (20, "<H", 1)])
def test_durations_and_days_have_limits(offset: int, form: str, value: int) -> None:
    draft = Draft("COMPROMISED")
    struct.pack_into(form, draft.payload, draft.at + offset, value)
    assert not draft.opens()
