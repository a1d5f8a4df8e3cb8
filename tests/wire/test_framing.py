# SPDX-License-Identifier: Apache-2.0
"""Frames: COBS, CRC, and what rubbish between frames may cost, on both ends of the wire."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyfin.wire import cobs
from tinyfin.wire.client import Client
from tinyfin.wire.frames import Deframer, encode_frame
from tinyfin.wire.links import Deadline, ProcessLink
from tinyfin.wire.messages import Answer, ErrorReport, Request, WireError

runs = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.integers(250, 260).map(lambda n: b"\1" * n),
        st.integers(0, 3).map(lambda n: b"\0" * n),
    ),
    max_size=6,
).map(b"".join)


@given(runs)
def test_cobs_gives_back_what_it_was_given(data: bytes) -> None:
    coded = cobs.encode(data)
    assert 0 not in coded
    assert len(coded) <= len(data) + len(data) // 254 + 1
    assert cobs.decode(coded) == data


@given(st.binary(max_size=300))
def test_cobs_refuses_or_decodes_but_never_fails(data: bytes) -> None:
    decoded = cobs.decode(data)
    assert decoded is None or len(decoded) <= len(data)


@given(st.lists(runs, min_size=1, max_size=8), st.lists(st.binary(max_size=30), max_size=9))
def test_soup_between_frames_loses_at_most_one_frame_each(
    payloads: list[bytes], soups: list[bytes]
) -> None:
    line = b""
    cost = 0
    for i, payload in enumerate(payloads):
        if i < len(soups):
            line += soups[i]
            cost += bool(soups[i])
        line += encode_frame(1, i, payload)
    found = [f for f in Deframer().feed(line) if f.type == 1]
    whole = {(f.sequence, f.payload) for f in found}
    expected = set(enumerate(payloads))
    assert whole <= expected
    assert len(expected - whole) <= cost


@given(runs, st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_byte_is_never_taken(payload: bytes, where: int, flip: int) -> None:
    line = bytearray(encode_frame(2, 77, payload))
    line[where % len(line)] ^= flip
    for frame in Deframer().feed(bytes(line) + b"\0"):
        assert frame == (2, 77, payload)  # only if the flip changed nothing that counts


@settings(max_examples=20)
@given(runs, st.integers(1, 7))
def test_a_frame_in_pieces_is_the_same_frame(payload: bytes, size: int) -> None:
    line = encode_frame(3, 9, payload)
    deframer = Deframer()
    frames = []
    for at in range(0, len(line), size):
        frames += deframer.feed(line[at : at + size])
    assert frames == [(3, 9, payload)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_soup_costs_the_terminal_at_most_one_frame_each(program: Path, seed: int) -> None:
    rng = random.Random(seed)
    client = Client(ProcessLink([str(program)]))
    try:
        client.connect()
        count = 200
        soups = 0
        for tag in range(count):
            if rng.random() < 0.4:
                soup = rng.randbytes(rng.choice([1, 2, 7, 40, 3000]))
                if rng.random() < 0.3:
                    soup = soup.replace(b"\0", b"\1")  # without any delimiter: one long stretch
                soups += 1
                client.link.write(soup)
            client.link.write(encode_frame(Request.CHECKPOINT_REQUEST, tag, b""))
        client.link.write(b"\0" + encode_frame(Request.STATS_REQUEST, 999, b""))
        answered = set()
        wait = Deadline(20.0)
        while (frame := client._receive(wait)) is not None:
            if frame.type == Answer.STATS:
                break
            if frame.type == Answer.CHECKPOINT:
                answered.add(frame.sequence)
        assert frame is not None, "the terminal fell silent"
        assert count - len(answered) <= soups
        stats = client.stats()
        assert stats["frames_damaged"] + stats["frames_overlong"] > 0
        assert stats["frames_overlong"] > 0
    finally:
        client.close()


def test_a_terminal_without_error_texts_is_understood() -> None:
    report = ErrorReport(WireError.NO_PACK, -8, 0, 0, "")
    assert str(report) == "NO_PACK (TFIN_E_DIGEST: pack is damaged: its digest differs)"
    assert str(report._replace(text="what it said")) == "NO_PACK (what it said)"
    assert str(report._replace(engine_error=0)) == "NO_PACK"
