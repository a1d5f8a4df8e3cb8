# SPDX-License-Identifier: Apache-2.0
"""Packs: there and back, and nothing damaged gets in."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from tests.pack.conftest import SCHEMA
from tinyfin.errors import PackError
from tinyfin.features.compiler import compile_program
from tinyfin.pack.container import build_pack, parse_pack
from tinyfin.pack.decision import Decision
from tinyfin.pack.sections import encode_schema, join_sections
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, generate_key, hash32, sign
from tinyfin.schema import PAYMENT
from tinyfin.twin import Twin


def resign(data: bytes, key: Key = DEVELOPMENT_KEY) -> bytes:
    """The pack with digest and signature made good again."""
    head = data[:128] + hash32(data[224:])
    return head + sign(head, key) + data[224:]


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return resign(data[:at] + value + data[at + len(value) :])


def section_at(data: bytes, tag: bytes) -> int:
    """Offset of a section's payload."""
    return data.index(tag, 224) + 16


@pytest.fixture(scope="module")
def pack(tiny: dict[str, Any]) -> bytes:
    return build_pack(**tiny)


def test_there_and_back(pack: bytes, tiny: dict[str, Any]) -> None:
    parsed = parse_pack(pack)
    assert parsed.verified
    assert parsed.development
    assert parsed.maps == tuple(tiny["maps"])
    assert parsed.readout == tiny["readout"]
    assert parsed.calibration == tiny["calibration"]
    assert parsed.decision == tiny["decision"]
    assert parsed.plan == tiny["plan"]
    assert parsed.program == tiny["program"].payload
    assert parsed.model_id == tiny["model"]
    assert parsed.security_counter == 3
    assert parsed.golden is not None
    assert (parsed.golden.inputs == tiny["golden"].inputs).all()
    assert (parsed.golden.raw == tiny["golden"].raw).all()
    assert parsed.meta["features"] == ["amt_log", "gap_s"]
    assert parsed.meta["name"] == "tiny"
    assert parsed.lineage == {"data": "none"}
    assert build_pack(**tiny) == pack


def test_the_engine_takes_it_and_names_it_alike(pack: bytes, tiny: dict[str, Any]) -> None:
    twin = Twin(pack)
    parsed = parse_pack(pack)
    assert twin.pack_id == parsed.pack_id
    assert parsed.network is not None
    assert twin.memory_size == tiny["program"].memory_bytes(parsed.network["arena_bytes"])


def test_the_engine_computes_what_the_sections_say(pack: bytes, tiny: dict[str, Any]) -> None:
    twin = Twin(pack)
    rng = np.random.default_rng(1)
    t = 1000
    for number in range(200):
        t += int(rng.choice([1, 40, 2000]))
        amount = int(rng.integers(0, 300_000))
        verdict = twin.score(0, number, t, t, np.array([amount, 5]), 3)
        features = twin.features(0).reshape(1, -1)
        inputs = np.stack([m.evaluate(features[:, i]) for i, m in enumerate(tiny["maps"])], axis=1)
        assert (twin.inputs(0) == inputs[0]).all()
        _, raw = twin.infer(inputs)
        assert verdict.raw == raw[0]
        assert verdict.score_q32 == tiny["calibration"].evaluate(raw)[0]
        assert verdict.action == tiny["decision"].evaluate(np.array([verdict.score_q32]))[0]
        twin.outcome(0, number, t, 0, 0, 0)


def test_every_truncation_is_refused(pack: bytes) -> None:
    for size in range(len(pack)):
        with pytest.raises(PackError):
            parse_pack(pack[:size])


def test_every_single_bit_flip_is_refused(pack: bytes) -> None:
    data = bytearray(pack)
    for bit in range(8 * len(pack)):
        data[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(PackError):
            parse_pack(bytes(data))
        data[bit >> 3] ^= 1 << (bit & 7)
    assert parse_pack(bytes(data)).verified


def test_what_python_takes_the_engine_takes_too() -> None:
    """Damage under a good signature: refused with a PackError, or the engine takes it as well."""
    clean = build_pack(PAYMENT, compile_program("default", PAYMENT))
    start, end = section_at(clean, b"SCHM"), section_at(clean, b"META") - 16
    rng = np.random.default_rng(3)
    taken = 0
    for _ in range(500):
        data = bytearray(clean)
        for at in rng.integers(start, end, int(rng.integers(1, 3))):
            data[at] = int(rng.choice([0, 1, 255, data[at] ^ 1, data[at] + 1 & 255]))
        schema = bytes(data[start : start + len(encode_schema(PAYMENT))])
        at = section_at(clean, b"PROG")
        program = bytes(data[at : at + struct.unpack_from("<I", data, at - 12)[0]])
        data[40:88] = (
            hash32(schema)[:16] + hash32(program)[:16] + (hash32(b"tfst1" + schema + program)[:16])
        )
        mutant = resign(bytes(data))
        try:
            parse_pack(mutant)
        except PackError:
            continue
        taken += 1
        Twin(mutant)
    assert 0 < taken < 500


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (0, b"X", "offset 0: these bytes are not a tinyfin pack"),
        (4, b"\x02\x00", "offset 4: pack format 2 is newer"),
        (6, b"\x00\x01", "does not exist"),
        (8, b"\x01", "offset 8: total size"),
        (20, b"\x02", "offset 20"),
        (24, b"\x02", "offset 24: unknown signature or hash"),
        (26, b"\x21", "offset 26: 33 sections"),
        (26, b"\x01", "bytes after the last section"),
        (28, b"\x00\x00\x00\x00", "offset 28"),
        (32, b"\x00", "offset 32: kernel mask"),
        (40, bytes(16), "offset 40: the schema hash"),
        (56, bytes(16), "offset 56: the program hash"),
        (72, bytes(16), "offset 72: the state layout hash"),
        (104, b"\x01", "reserved bytes"),
    ],
)
def test_header_rules_are_named(pack: bytes, at: int, value: bytes, message: str) -> None:
    with pytest.raises(PackError, match=message):
        parse_pack(patched(pack, at, value))


@pytest.mark.parametrize(
    ("tag", "at", "value", "message"),
    [
        (b"MAPS", -16, b"MAPX", "MAPX is critical and unknown"),
        (b"META", -8, b"\x01", "META is critical and unknown"),
        (b"META", -16, b"SCHM", "SCHM is there twice"),
        (b"CALI", -8, b"\x00", "CALI must be marked critical"),
        (b"READ", -12, b"\xff\xff\xff", "passes the end"),
        (b"READ", 0, b"\x09", "READ: offset 0: unknown kind 9"),
        (b"READ", 2, b"\x09", "READ: index 9 of 1"),
        (b"MAPS", 8, b"\x02", "MAPS: map 0"),
        (b"CALI", 8, b"\xff\xff\xff\x7f", "CALI"),
        (b"CALI", 16, b"\x01", "slopes are not those"),
        (b"DECI", 0, b"\xff\xff\xff\xff", "go_online_q32"),
        (b"DECI", 20, b"\x01", "DECI: offset 20"),
        (b"GOLD", 2, b"\x03", "GOLD"),
        (b"META", 0, b"[", "META"),
        (b"PLAN", 0, b"X", "not a plan"),
    ],
)
def test_section_rules_are_named(
    pack: bytes, tag: bytes, at: int, value: bytes, message: str
) -> None:
    with pytest.raises(PackError, match=message):
        parse_pack(patched(pack, section_at(pack, tag) + at, value))


def test_unknown_optional_sections_are_skipped(tiny: dict[str, Any]) -> None:
    clean = build_pack(tiny["schema"], tiny["program"])
    extra = join_sections([("XTRA", b"anything")])
    head = bytearray(clean[:224])
    struct.pack_into("<I", head, 8, len(clean) + len(extra))
    struct.pack_into("<H", head, 26, struct.unpack_from("<H", head, 26)[0] + 1)
    data = resign(bytes(head) + clean[224:] + extra)
    assert parse_pack(data).sections["XTRA"] == b"anything"
    Twin(data)


def test_a_release_key_signs_and_only_it_verifies(tiny: dict[str, Any]) -> None:
    mine, other = generate_key(), generate_key()
    data = build_pack(**tiny, key=mine)
    assert not parse_pack(data).verified
    assert parse_pack(data, keys=[other.public, mine.public]).verified
    assert not parse_pack(data).development
    forged = data[:160] + sign(data[:160], other) + data[224:]
    with pytest.raises(PackError, match="does not verify"):
        parse_pack(forged, keys=[mine.public])
    with pytest.raises(PackError):
        Twin(data)
    Twin(data, keys=[mine.public])


def test_the_development_flag_cannot_be_dropped(pack: bytes) -> None:
    bare = bytearray(pack)
    bare[20] = 0
    with pytest.raises(PackError, match="does not verify"):
        parse_pack(resign(bytes(bare)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": None}, "give MAPS too"),
        ({"plan": None}, "leave MAPS out"),
        ({"decision": Decision((1,), (0,))}, "DECI: 1 reasons for 2 features"),
        ({"plan": b"nonsense"}, "not a plan"),
        ({"lineage": {"data": "0" * (1 << 26)}}, "at most"),
    ],
)
def test_incomplete_packs_are_not_built(
    tiny: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(PackError, match=message):
        build_pack(**{**tiny, **change})


def test_a_pack_without_a_network(tiny: dict[str, Any]) -> None:
    data = build_pack(SCHEMA, tiny["program"])
    parsed = parse_pack(data)
    assert parsed.plan is None
    assert parsed.maps is None
    assert Twin(data).input_count == 0
