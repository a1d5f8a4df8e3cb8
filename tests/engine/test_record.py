# SPDX-License-Identifier: Apache-2.0
"""A pack whose events have other fields than the application's record is refused when it is
opened."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from tests.support import packs
from tests.support.native import Engine, Receipt, Refused, code, library
from tinyfin.codegen.emit import emit
from tinyfin.codegen.pack_layout import read_layout

OTHER = "TFIN_E_OTHER_RECORD"


def record_of(pack: bytes) -> list[int]:
    words = read_layout(pack).record
    return [len(words), *words]


def test_the_packs_own_record_fits(small: bytes) -> None:
    Engine(small, record=record_of(small))


@pytest.mark.parametrize("field", range(4))
@pytest.mark.parametrize("bit", [0, 1, 8, 9, 16, 19])
def test_a_field_of_another_kind_does_not(small: bytes, field: int, bit: int) -> None:
    """Type in bits 0 to 7, flags in 8 to 15, offset above."""
    record = record_of(small)
    record[1 + field] ^= 1 << bit
    with pytest.raises(Refused, match=OTHER):
        Engine(small, record=record)


def test_fields_are_only_ever_added_at_the_end(small: bytes) -> None:
    """An older application with a newer pack, and a newer one with an older pack."""
    record = record_of(small)
    for fewer in range(1, len(record)):
        Engine(small, record=[fewer - 1, *record[1:fewer]])
    Engine(small, record=[record[0] + 1, *record[1:], 0x00400000])


def test_payments_do_not_fit_another_schema(small: bytes) -> None:
    models = Path(__file__).parents[2] / "models"
    payment = (models / "payment" / "model.tfpack").read_bytes()
    health = (models / "terminal_health" / "model.tfpack").read_bytes()
    for pack, other in ((payment, health), (health, payment), (payment, small), (small, payment)):
        Engine(pack, record=record_of(pack))
        with pytest.raises(Refused, match=OTHER):
            Engine(pack, record=record_of(other))


def test_no_record_is_an_argument_that_is_missing(small: bytes) -> None:
    from tests.support.native import Buffer, Trust

    trust = Trust(b"", 0, True, 0, None)
    held = Buffer(len(small), small)
    receipt = Buffer(512)
    rc = library().tfin_verify(receipt, held, ctypes.c_size_t(len(small)), ctypes.byref(trust))
    assert rc == code("TFIN_E_ARGUMENT")
    assert Receipt(packs.build(packs.small()))


def test_the_generated_record_is_that_of_the_pack(small: bytes, tmp_path: Path) -> None:
    emit(small, tmp_path)
    text = (tmp_path / "tinyfin_pack.c").read_text().split("tinyfin_record")[1]
    words = [int(word, 0) for word in re.findall(r"\b(0x\w+|\d+)u,", text)]
    assert words == record_of(small)
