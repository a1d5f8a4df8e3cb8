# SPDX-License-Identifier: Apache-2.0
"""PROB: bytes at the offsets of the format, an exact inverse, every rule; in packs of all kinds."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.errors import PackError
from tinyfin.features.compiler import compile_program
from tinyfin.pack.container import build_pack, parse_pack, with_sections
from tinyfin.pack.layouts import repack_pack
from tinyfin.pack.probation import Look, Probation
from tinyfin.pack.signing import generate_key
from tinyfin.schema import PAYMENT

U16 = st.integers(0, 65_535)
CUTS = st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3, unique=True).map(sorted)
PROBATIONS = st.builds(
    lambda events, limits, **rest: Probation(
        looks=tuple(Look(n, *limit) for n, limit in zip(sorted(events), limits, strict=False)),
        **rest,
    ),
    events=st.lists(st.integers(1, 65_535), min_size=1, max_size=4, unique=True),
    limits=st.lists(st.tuples(U16, U16, U16), min_size=4, max_size=4),
    parent=st.binary(min_size=16, max_size=16),
    parent_cuts=CUTS.map(tuple),
    own_cuts=CUTS.map(tuple),
    auto_trial=st.booleans(),
    auto_confirm=st.booleans(),
    alerts_factor_q8=U16,
    alerts_more=U16,
    trial_events=U16,
    trial_alerts=U16,
    trial_saturated=U16,
)
ONE = Probation(
    bytes(range(16)),
    (1, 2, 3),
    (4, 5, 2**32 - 1),
    (Look(200, 20, 90, 300), Look(500, 40, 200, 250)),
    True,
    False,
    768,
    8,
    300,
    30,
    7,
)


@given(PROBATIONS)
def test_there_and_back(one: Probation) -> None:
    payload = one.encode()
    assert Probation.decode(payload) == one
    assert len(payload) == 56 + 8 * len(one.looks)


def test_bytes_are_at_the_offsets_of_the_format() -> None:
    payload = ONE.encode()
    assert payload[:16] == bytes(range(16))
    for at, kind, value in (
        (16, "<3I", (1, 2, 3)),
        (28, "<3I", (4, 5, 2**32 - 1)),
        (40, "<B", (2,)),
        (41, "<B", (1,)),
        (42, "<H", (8,)),
        (44, "<H", (300,)),
        (46, "<H", (30,)),
        (48, "<H", (7,)),
        (50, "<H", (768,)),
        (52, "<I", (0,)),
        (56, "<4H", (200, 20, 90, 300)),
        (64, "<4H", (500, 40, 200, 250)),
    ):
        assert struct.unpack_from(kind, payload, at) == value
    assert replace(ONE, auto_trial=False, auto_confirm=True).encode()[41] == 2


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (16, b"\x02\0\0\0", "parent_cuts"),
        (32, b"\x04\0\0\0", "own_cuts"),
        (40, b"\0", "0 looks do not make 72 bytes"),
        (40, b"\x03", "3 looks do not make 72 bytes"),
        (41, b"\x04", "unknown flags"),
        (52, b"\x01", "reserved"),
        (56, b"\0\0", "must ascend strictly"),
        (64, b"\xc8\0", "must ascend strictly"),
    ],
)
def test_each_rule_is_kept(at: int, value: bytes, said: str) -> None:
    payload = bytearray(ONE.encode())
    payload[at : at + len(value)] = value
    with pytest.raises(PackError, match=said):
        Probation.decode(bytes(payload))
    Probation.decode(ONE.encode())  # the control


def test_lengths_that_are_none() -> None:
    payload = ONE.encode()
    for wrong in (b"", payload[:55], payload[:56], payload[:-1], payload + b"\0"):
        with pytest.raises(PackError, match="PROB"):
            Probation.decode(wrong)
    with pytest.raises(PackError, match="1 to 4"):
        replace(ONE, looks=tuple(Look(n, 0, 0, 0) for n in range(1, 6)))
    with pytest.raises(PackError, match="16 bytes"):
        replace(ONE, parent=b"")
    for name in ("alerts_more", "trial_alerts", "alerts_factor_q8"):
        with pytest.raises(PackError, match=name):
            replace(ONE, **{name: 65_536})


def test_a_finished_pack_gets_sections_and_keeps_the_rest(tiny: dict[str, Any]) -> None:
    old = parse_pack(build_pack(**tiny))
    key = generate_key()
    made = with_sections(old, {"PROB": ONE.encode()}, key, security_counter=9)
    new = parse_pack(made, keys=[key.public])
    assert new.probation == ONE
    assert new.security_counter == 9
    assert {tag: new.sections[tag] for tag in old.sections} == dict(old.sections)
    other = replace(ONE, alerts_more=9)
    again = parse_pack(with_sections(new, {"PROB": other.encode()}, key), keys=[key.public])
    assert again.probation == other
    assert list(again.sections) == list(new.sections)
    rows = parse_pack(repack_pack(made, "rows", key=key), keys=[key.public])
    assert rows.probation == ONE


def test_what_is_not_given_to_a_finished_pack(tiny: dict[str, Any]) -> None:
    old = parse_pack(build_pack(**tiny))
    with pytest.raises(PackError, match="section DECI is the model's"):
        with_sections(old, {"DECI": b""})
    with pytest.raises(PackError, match="PROB"):
        with_sections(old, {"PROB": b"\0" * 64})
    key = generate_key()
    with pytest.raises(PackError, match="not trusted"):
        with_sections(parse_pack(build_pack(**tiny, key=key)), {"PROB": ONE.encode()}, key)
    signed = parse_pack(build_pack(**tiny, key=key), keys=[key.public])
    with pytest.raises(PackError, match="--key"):
        with_sections(signed, {"PROB": ONE.encode()})
    bare = parse_pack(build_pack(PAYMENT, compile_program("default", PAYMENT)))
    with pytest.raises(PackError, match="PROB is there without PLAN"):
        with_sections(bare, {"PROB": ONE.encode()})


def test_inspect_says_what_it_holds(tiny: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.tfpack"
    path.write_bytes(with_sections(parse_pack(build_pack(**tiny)), {"PROB": ONE.encode()}))
    said = tinyfin("inspect", path).output
    assert "goes on trial by itself, confirms by command" in said
    assert "after 500 events in shadow at most 40 far apart, 200 in other bins" in said
    assert "trial: 300 events, at most 30 alerts and 7 saturated" in said
    found = tinyfin_json("inspect", path)["probation"]
    assert found["looks"][0] == {"events": 200, "far": 20, "differ": 90, "psi_q10": 300}
    path.write_bytes(build_pack(**tiny))
    assert tinyfin_json("inspect", path)["probation"] is None
