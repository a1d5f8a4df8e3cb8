# SPDX-License-Identifier: Apache-2.0
"""A pack verified once and bound afterwards: the same engine, and nothing else can be bound."""

from __future__ import annotations

import ctypes

import pytest

from tests.engine.corpus import golden_mirror
from tests.support import packs
from tests.support.native import Buffer, Engine, Receipt, Refused, code, library
from tests.support.packs import RECORD


def drive(engine: Engine) -> bytes:
    """A few calls of each kind; what the engine then holds and has answered."""
    seen = b""
    for i in range(1, 30):
        verdict = engine.score(i, 100 * i, RECORD)
        seen += bytes(verdict)
        engine.outcome(i, 100 * i + 7)
    return seen + engine.export()


@pytest.mark.parametrize("name", ["small", "rich"])
def test_bound_is_opened(name: str) -> None:
    pack = packs.build(getattr(packs, name)())
    receipt = Receipt(pack)
    one, two = Engine(pack, receipt=receipt), Engine(pack, receipt=receipt)
    expected = drive(Engine(pack))
    assert drive(one) == expected
    assert two.export() != one.export()
    assert drive(two) == expected
    assert Engine(pack, receipt=receipt).export() == Engine(pack).export()


def test_memory_is_asked_for_as_in_open(small: bytes) -> None:
    receipt = Receipt(small)
    needed = ctypes.c_uint32.from_address(receipt.buffer.address + 4).value
    assert needed == receipt.lib.tfin_memory_size(receipt.pack, ctypes.c_size_t(len(small)))
    for name, change in (
        ("TFIN_E_MEMORY", {"memory_less": 1}),
        ("TFIN_E_ALIGN", {"memory_shift": 8}),
    ):
        with pytest.raises(Refused, match=name):
            Engine(small, receipt=receipt, **change)
    null = ctypes.c_void_p(None)
    size = ctypes.c_size_t(1 << 16)
    good = [receipt.buffer] * 3
    for missing in range(3):
        given = [null if i == missing else p for i, p in enumerate(good)]
        assert receipt.lib.tfin_bind(*given, size) == code("TFIN_E_ARGUMENT")
        assert receipt.lib.tfin_verify(given[0], given[1], size, given[2]) == code(
            "TFIN_E_ARGUMENT"
        )


def test_what_was_not_verified_cannot_be_bound(small: bytes) -> None:
    """Zeros, garbage, and what is left of a verification that failed."""
    receipt = Receipt(small)
    held = bytes(receipt.buffer)
    for fill in (b"\0", b"\xff", b"\x5a"):
        ctypes.memset(receipt.buffer.address, fill[0], len(held))
        with pytest.raises(Refused, match="TFIN_E_UNVERIFIED"):
            Engine(small, receipt=receipt)
    for rc, at in (("TFIN_E_DIGEST", 300), ("TFIN_E_SIGNATURE", 161), ("TFIN_E_MAGIC", 0)):
        ctypes.memmove(receipt.buffer.address, held, len(held))
        Engine(small, receipt=receipt)
        byte = ctypes.c_uint8.from_address(receipt.pack.address + at)
        byte.value ^= 1
        assert receipt.verify() == code(rc)
        with pytest.raises(Refused, match="TFIN_E_UNVERIFIED"):
            Engine(small, receipt=receipt)
        byte.value ^= 1
    assert receipt.verify(allow=False) == code("TFIN_E_KEY")
    with pytest.raises(Refused, match="TFIN_E_UNVERIFIED"):
        Engine(small, receipt=receipt)


def test_a_receipt_with_any_bit_wrong_is_none(small: bytes) -> None:
    receipt = Receipt(small)
    held = bytes(receipt.buffer)
    size = len(held.rstrip(b"\0"))
    assert size > 150
    for bit in range(8 * size):
        ctypes.c_uint8.from_address(receipt.buffer.address + (bit >> 3)).value ^= 1 << (bit & 7)
        with pytest.raises(Refused, match="TFIN_E_UNVERIFIED"):
            Engine(small, receipt=receipt)
        ctypes.c_uint8.from_address(receipt.buffer.address + (bit >> 3)).value ^= 1 << (bit & 7)
    Engine(small, receipt=receipt)


@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
@pytest.mark.parametrize("at", [0, 20, 128, 200, 224, 700, -1], ids=str)
def test_a_pack_that_changes_while_it_runs_is_found(small: bytes, piece: int, at: int) -> None:
    """In the signed header, the signature, the first and the last byte of the rest."""
    engine = Engine(small)
    whole = len(small) - 224
    for _ in range(2):
        assert engine.recheck(piece) == -(-whole // piece) - 1
    byte = ctypes.c_uint8.from_address(engine._pack.address + at % len(small))
    byte.value ^= 1
    if 160 <= at < 224:  # the signature: it was checked and is not looked at again
        engine.recheck(piece)
        return
    with pytest.raises(Refused, match="TFIN_E_DIGEST"):
        engine.recheck(piece)
    with pytest.raises(Refused, match="TFIN_E_CLOSED"):
        engine.export()


def test_a_round_that_began_with_another_pack_begins_again(small: bytes) -> None:
    """Reopening in the middle of a round must not read past the end of a shorter pack."""
    longer = Engine(packs.build({**packs.small(), "LINE": bytes(9000)}))
    engine, held = Engine(small), Buffer(512)
    recheck = longer.lib.tfin_recheck_pack
    assert recheck(longer._engine, held, 8000) > 0
    whole = len(small) - 224
    assert recheck(engine._engine, held, 100) == whole - 100
    assert recheck(engine._engine, held, 1 << 20) == 0


def test_rechecking_feeds_the_watchdog(small: bytes) -> None:
    engine = Engine(small)
    before = engine.progress_calls
    engine.recheck(64)
    assert engine.progress_calls - before >= (len(small) - 224) // 64


def replaced(lib: ctypes.CDLL) -> Receipt:
    """A receipt whose pack has been overwritten by another good one, as an update would."""
    parts = packs.small()
    old, new = packs.build(parts), packs.build({**parts, "META": b"{}"})
    receipt = Receipt(old + bytes(len(new) - len(old)), lib=lib)
    ctypes.memmove(receipt.pack.address, new, len(new))
    return receipt


def test_a_pack_that_was_replaced_since_is_not_bound(small: bytes) -> None:
    receipt = replaced(library())
    with pytest.raises(Refused, match="TFIN_E_DIGEST"):
        Engine(small, receipt=receipt)
    assert receipt.verify() == 0
    Engine(small, receipt=receipt)


def test_without_the_seal_a_replaced_pack_is_bound(small: bytes) -> None:
    """Negative control: the test above can fail."""
    lib = library("TFIN_SABOTAGE_SEAL")
    Engine(small, lib=lib, receipt=replaced(lib))


def test_golden_vectors_run_when_a_pack_is_bound() -> None:
    good = golden_mirror()
    Engine(good, receipt=Receipt(good))
    parts = packs.mirror()
    wrong = packs.build({**parts, "GOLD": packs.golden(3, [1, 2])})
    receipt = Receipt(wrong)
    with pytest.raises(Refused, match="TFIN_E_GOLDEN"):
        Engine(wrong, receipt=receipt)
