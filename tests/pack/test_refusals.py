# SPDX-License-Identifier: Apache-2.0
"""Every error of tinyfin.h can happen, and has its name.

Packs are put together by hand (tests/support/packs.py), signed as they are and given to the
engine's C with the real hash and signature.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable

import pytest

from tests.pack.hostile_packs import STRUCTURE, changed
from tests.support import packs
from tests.support.native import ERRORS, Engine, Refused, error_name, library, opening
from tests.support.packs import RECORD, build, small
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, key_from_seed

RELEASE = key_from_seed(bytes(range(32)))
OTHER = key_from_seed(bytes(range(1, 33)))


@pytest.mark.parametrize(
    ("error", "make"),
    [pytest.param(error, make, id=f"{error[7:]}: {name}") for error, name, make in STRUCTURE],
)
def test_a_signed_pack_that_breaks_a_rule_is_refused_by_name(
    error: str, make: Callable[[], bytes]
) -> None:
    assert opening(make(), memory_size=1 << 16) == error


def test_the_small_pack_itself_opens() -> None:
    engine = Engine(build(small()))
    assert engine.score(1, 10, RECORD).score_q32 > 0


@pytest.mark.parametrize("arena", [0xFFFFFFF0, 0x80000000, 0x7FFFFFF0, 1 << 27])
def test_an_absurd_arena_does_not_wrap_the_memory_size(arena: int) -> None:
    """Found by mutation: the sum of state and arena once wrapped to a few bytes."""
    with pytest.raises(Refused, match=r"TFIN_E_(PROGRAM|PLAN)"):
        Engine(build(changed("PLAN", 16, "I", arena)), memory_size=1 << 16)


def test_a_network_may_take_no_more_work_than_the_build_allows() -> None:
    with pytest.raises(Refused, match="TFIN_E_PLAN"):
        Engine(build(small()), lib=library("TFIN_MAX_WORK=100u"))
    Engine(build(small()), lib=library("TFIN_MAX_WORK=1000u"))


def test_golden_vectors_are_run() -> None:
    parts = small()
    inputs = packs.golden_inputs(3, 4)
    answers = [Engine(build(parts)).infer(x.tobytes()) for x in inputs]
    assert len(set(answers)) > 1
    Engine(build({**parts, "GOLD": packs.golden(3, answers)}))
    answers[3] += 1
    with pytest.raises(Refused, match="TFIN_E_GOLDEN"):
        Engine(build({**parts, "GOLD": packs.golden(3, answers)}))


def test_unknown_optional_sections_are_skipped() -> None:
    plain = Engine(build(small()))
    more = Engine(build({"ZERO": b"", **small(), "LINE": b"{}", "XTRA": bytes(33)}))
    assert more.score(1, 10, RECORD).raw == plain.score(1, 10, RECORD).raw


def test_newer_is_refused_before_damage_is_looked_for() -> None:
    """A newer pack is not called damaged, however its rest is laid out."""
    pack = bytearray(build(small(), version=2))
    pack[300] ^= 1
    with pytest.raises(Refused, match="TFIN_E_FORMAT"):
        Engine(bytes(pack), memory_size=4096)


def test_alignment_and_memory() -> None:
    pack = build(small())
    for shift in (1, 2, 4, 8):
        with pytest.raises(Refused, match="TFIN_E_ALIGN"):
            Engine(pack, pack_shift=shift, memory_size=4096)
        with pytest.raises(Refused, match="TFIN_E_ALIGN"):
            Engine(pack, memory_shift=shift)
    for less in (1, 16, 100):
        with pytest.raises(Refused, match="TFIN_E_MEMORY"):
            Engine(pack, memory_less=less)
    assert Engine(pack).memory_size % 16 == 0


def test_truncated_and_damaged() -> None:
    pack = build(small())
    for size in (0, 3, 4, 159, 223, 224, len(pack) - 16, len(pack) - 1):
        with pytest.raises(Refused, match="TFIN_E_TRUNCATED"):
            Engine(pack[:size], memory_size=4096)
    wrong = pack[:-1] + bytes([pack[-1] ^ 1])
    with pytest.raises(Refused, match="TFIN_E_DIGEST"):
        Engine(wrong, memory_size=4096)
    wrong = pack[:160] + bytes([pack[160] ^ 1]) + pack[161:]
    with pytest.raises(Refused, match="TFIN_E_SIGNATURE"):
        Engine(wrong, memory_size=4096)
    assert Engine(pack + bytes(40)).pack_id() == Engine(pack).pack_id()


# ------------------------------------------------------------------------------------ trust


def _opens(key: Key, *, development: bool | None = None, **trust: object) -> str:
    pack = build(small(), key=key, development=development)
    return opening(pack, memory_size=4096, **trust)


def test_the_development_key_opens_only_where_it_is_allowed() -> None:
    assert _opens(DEVELOPMENT_KEY) == ""
    assert _opens(DEVELOPMENT_KEY, allow=False) == "TFIN_E_KEY"
    assert _opens(DEVELOPMENT_KEY, allow=False, keys=[RELEASE.public]) == "TFIN_E_KEY"


def test_a_release_build_refuses_the_development_key_whatever_the_caller_says() -> None:
    release = library("TFIN_RELEASE")
    assert _opens(DEVELOPMENT_KEY, lib=release, allow=True) == "TFIN_E_KEY"
    assert _opens(DEVELOPMENT_KEY, lib=release, keys=[RELEASE.public]) == "TFIN_E_KEY"
    assert _opens(RELEASE, lib=release, keys=[RELEASE.public]) == ""


def test_release_keys() -> None:
    keys = [OTHER.public, RELEASE.public]
    assert _opens(RELEASE, keys=keys) == ""
    assert _opens(OTHER, keys=keys, allow=False) == ""
    assert _opens(RELEASE) == "TFIN_E_KEY"
    assert _opens(RELEASE, keys=[OTHER.public]) == "TFIN_E_KEY"


def test_a_pack_cannot_choose_its_key() -> None:
    """Neither the development flag nor a borrowed key id makes another key good."""
    assert _opens(DEVELOPMENT_KEY, development=False) == "TFIN_E_KEY"
    assert _opens(RELEASE, development=True, keys=[RELEASE.public]) == "TFIN_E_KEY"
    forged = Key(OTHER.seed, OTHER.public)
    object.__setattr__(forged, "public", RELEASE.public)  # its id, not its signature
    assert _opens(forged, keys=[RELEASE.public]) == "TFIN_E_SIGNATURE"


def test_security_counter() -> None:
    pack = build(small(), counter=7)
    for least in (0, 6, 7):
        Engine(pack, counter=least)
    for least in (8, 0xFFFFFFFF):
        with pytest.raises(Refused, match="TFIN_E_ROLLBACK"):
            Engine(pack, counter=least)


def test_the_watchdog_is_fed_while_the_pack_is_hashed() -> None:
    parts = {**small(), "LINE": bytes(20_000)}
    assert Engine(build(parts)).progress_calls >= 5


# ------------------------------------------------------------------------------------ calls


def test_a_record_must_hold_what_it_claims() -> None:
    """amount at 8, token at 16, kind at 24, small at 28; 32 in all."""
    engine = Engine(build(packs.rich()))
    for present, size, good in (
        (0, 8, True),
        (0, 7, False),
        (0, 0, False),
        (1, 16, True),
        (1, 15, False),
        (2, 23, False),
        (2, 24, True),
        (4, 28, True),
        (8, 28, False),
        (15, 32, True),
        (15, 31, False),
        (0xFFFFFFF0, 8, True),
    ):
        before = engine.export()
        record = struct.pack("<I", present) + RECORD[4:]
        if good:
            engine.score(1, 5, record, size=size)
        else:
            with pytest.raises(Refused, match="TFIN_E_RECORD"):
                engine.score(1, 5, record, size=size)
            assert engine.export() == before


def test_longer_and_shorter_records_mean_what_the_header_says() -> None:
    """A newer application's surplus is ignored; what an older one lacks is absent."""

    def features(record: bytes, size: int | None = None) -> list[int]:
        engine = Engine(build(packs.rich()))
        engine.score(1, 1000, record, size=size)
        return engine.features()

    full = features(RECORD)
    longer = struct.pack("<I", 15 | 1 << 4 | 1 << 31) + RECORD[4:] + b"\xee" * 24
    assert features(longer) == full
    absent = struct.pack("<I", 7) + RECORD[4:]
    assert features(absent, size=28) == features(absent) != full


def test_arguments() -> None:
    engine = Engine(build(small()))
    with pytest.raises(Refused, match="TFIN_E_ARGUMENT"):
        engine.score(1, 5, RECORD, shift=4)
    for call in (
        lambda: engine.outcome(1, 5, result=5),
        lambda: engine.outcome(1, 5, action=3),
        lambda: engine.notice(1, 1, 5, 5, 2),
        lambda: engine.infer(b"1234"),
    ):
        before = engine.export()
        with pytest.raises(Refused, match="TFIN_E_ARGUMENT"):
            call()
        assert engine.export() == before
    lib, null = library(), ctypes.c_void_p()
    for name, count in (
        ("tfin_memory_size", 2),
        ("tfin_open", 6),
        ("tfin_reset", 1),
        ("tfin_score", 3),
        ("tfin_apply_outcome", 2),
        ("tfin_apply_notice", 2),
        ("tfin_infer", 4),
        ("tfin_get_stats", 2),
        ("tfin_export_state", 4),
        ("tfin_import_state", 4),
    ):
        assert error_name(getattr(lib, name)(*[null] * count)) == "TFIN_E_ARGUMENT", name


def test_an_unknown_id() -> None:
    engine = Engine(build(small()))
    engine.score(1, 5, RECORD)
    engine.outcome(1, 6)
    with pytest.raises(Refused, match="TFIN_E_UNKNOWN_ID"):
        engine.outcome(1, 6)


def test_a_pack_without_a_network() -> None:
    engine = Engine(build({tag: small()[tag] for tag in ("SCHM", "PROG")}))
    assert engine.score(1, 5, RECORD).action == 0
    assert len(engine.features()) == 3
    with pytest.raises(Refused, match="TFIN_E_NO_MODEL"):
        engine.infer(b"123")


# ------------------------------------------------------------------------------------ names


def test_every_error_has_its_name_and_text() -> None:
    lib = library()
    assert len(ERRORS) == len({value for value, _ in ERRORS.values()}) == 35
    for name, (value, text) in ERRORS.items():
        assert lib.tfin_error_name(value).decode() == f"{name}: {text}"
    for value in (1, -35, 2**31 - 1, -(2**31)):
        assert lib.tfin_error_name(value) == b"unknown error"
    assert library("TFIN_NO_ERROR_TEXT").tfin_error_name(-8) == b""


def test_every_error_is_produced_by_a_test() -> None:
    """Some errors have a file of their own in tests/engine."""
    from pathlib import Path

    here = Path(__file__).parent
    files = here / "test_refusals.py", here / "hostile_packs.py", *here.glob("../engine/*.py")
    said = "".join(path.read_text() for path in files)
    missing = [name for name in ERRORS if name != "TFIN_OK" and name not in said]
    assert not missing
