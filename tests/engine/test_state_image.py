# SPDX-License-Identifier: Apache-2.0
"""State that outlives reboots: the same bytes as never having stopped, or a named error and
cold."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import packs
from tests.support.native import Engine, Refused
from tinyfin.errors import InputError
from tinyfin.twin import Twin

Step = Callable[[Engine], object]
HEADER = 64
quick = settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def kept_pack() -> bytes:
    """Every operator, nothing RAM-only: all that is known outlives a reboot."""
    return packs.build(packs.sections(packs.rich_program(ram_only=False)))


def record(amount: int, token: int, kind: int, small: int, present: int = 15) -> bytes:
    return struct.pack("<IIqQii", present, 0, amount, token, kind, small)


def story(seed: int, length: int = 90) -> list[Step]:
    """Events, outcomes and notices of a small shop, as calls."""
    rng = random.Random(seed)
    steps: list[Step] = []
    t = 1000

    def score(id: int, now: int, body: bytes) -> Step:
        def call(e: Engine) -> object:
            v = e.score(id, now, body)
            return v.score_q32, v.raw, v.action, v.flags, tuple(v.reasons), tuple(e.features())

        return call

    def outcome(id: int, now: int, result: int, response: int) -> Step:
        def call(e: Engine) -> object:
            try:
                return e.outcome(id, now, result, response, rng_action)
            except Refused as refused:
                return str(refused)

        rng_action = rng.randrange(3)
        return call

    def notice(id: int, token: int, now: int, then: int, fraud: int) -> Step:
        return lambda e: e.notice(id, token, now, then, fraud)

    for i in range(length):
        t += rng.choice((0, 1, 30, 600, 9000))
        token = rng.randrange(7) * 0x9E3779B97F4A7C15 & (1 << 64) - 1
        body = record(rng.randrange(100_000), token, rng.randrange(5), rng.randrange(-9, 9))
        steps.append(score(i, t, body))
        if rng.random() < 0.7:
            late = rng.randrange(4)
            steps.append(outcome(max(0, i - late), t + 2, rng.randrange(5), rng.choice((0, 51))))
        if rng.random() < 0.2:
            then = max(0, t - rng.randrange(9000))
            steps.append(notice(rng.randrange(i + 1), token, t, then, rng.randrange(2)))
    return steps


def pieces(image: bytes, sizes: Sequence[int]) -> list[tuple[int, bytes]]:
    """The image cut after 64 bytes and then by ``sizes``, over and over."""
    cut, at = [(0, image[:HEADER])], HEADER
    i = 0
    while at < len(image):
        n = sizes[i % len(sizes)]
        cut.append((at, image[at : at + n]))
        at += n
        i += 1
    return cut


@quick
@given(
    seed=st.integers(0, 5),
    cut=st.floats(0, 1),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=4),
)
def test_reboot_at_any_event_changes_nothing(
    kept_pack: bytes, seed: int, cut: float, sizes: list[int]
) -> None:
    steps = story(seed)
    at = round(cut * len(steps))
    whole, before, after = Engine(kept_pack), Engine(kept_pack), Engine(kept_pack)
    for step in steps[:at]:
        assert step(whole) == step(before)
    image, offset = b"", 0
    while offset < before.state_size:
        n = min(sizes[offset % len(sizes)], before.state_size - offset)
        image += before.export(offset, n)
        offset += n
    assert image == before.export()
    for start, piece in pieces(image, sizes):
        after.take(piece, start)
    assert after.digest() == before.digest()
    for step in steps[at:]:
        assert step(whole) == step(after)
    assert whole.export() == after.export()


def test_the_twin_takes_the_terminals_image(kept_pack: bytes) -> None:
    terminal, twin = Engine(kept_pack), Twin(kept_pack)
    for step in story(3):
        step(terminal)
    twin.import_state(0, terminal.export())
    assert twin.export_state(0) == terminal.export()
    values = (500, 77, 1, 3)
    mine = twin.score(0, 9000, 2**31, 0, values, 15)
    theirs = terminal.score(9000, 2**31, record(*values))
    assert (mine.score_q32, mine.raw, mine.flags) == (theirs.score_q32, theirs.raw, theirs.flags)
    assert twin.export_state(0) == terminal.export()
    with pytest.raises(InputError, match="TFIN_E_STATE_DIGEST"):
        twin.import_state(0, terminal.export()[:-1] + b"\xff")
    assert twin.stats(0)["scored"] == 0


def test_the_image_is_what_the_format_page_says(rich: bytes) -> None:
    engine = Engine(rich)
    for step in story(1):
        step(engine)
    image = engine.export()
    magic, version, header, body, crc = struct.unpack_from("<IHHII", image)
    assert (magic, version, header, body) == (0x54534654, 1, 64, len(image) - 64)
    assert crc == zlib.crc32(image[64:]) == engine.digest()
    assert image[16:32] == rich[72:88]
    assert image[32:64] == bytes(32)


def test_ram_only_state_is_zero_in_the_image(rich: bytes, kept_pack: bytes) -> None:
    """A token that the schema keeps in RAM appears nowhere; without the mark it does."""
    token = 0x1122334455667788
    for pack, expected in ((rich, False), (kept_pack, True)):
        engine = Engine(pack)
        for id in range(3):
            engine.score(id, 50, record(10, token, 1, 5))
            engine.outcome(id, 60)
        hashed = struct.pack("<I", (token ^ token >> 32) & 0xFFFFFFFF)
        low = struct.pack("<I", token & 0xFFFFFFFF)
        image = engine.export()
        slots = image.count(struct.pack("<Q", token))
        assert slots == 1, "a card slot is named by its token"
        assert (hashed in image) is expected
        assert (image.count(low) > slots) is expected
        digest = engine.digest()
        engine.take(image)
        assert engine.digest() == digest


TOKEN = 0x1122334455667788
TRACES = [
    struct.pack("<Q", TOKEN),
    struct.pack("<I", TOKEN & 0xFFFFFFFF),
    struct.pack("<I", TOKEN >> 32),
    struct.pack("<I", (TOKEN ^ TOKEN >> 32) & 0xFFFFFFFF),
]
"""What operators remember of a token: itself, its words, their hash."""


@pytest.mark.parametrize("pushed_out", [False, True], ids=["waiting", "pushed out"])
def test_an_erased_card_leaves_no_byte_in_all_of_memory(kept_pack: bytes, pushed_out: bool) -> None:
    engine = Engine(kept_pack)
    others = 3 if not pushed_out else 40
    engine.score(1, 50, record(10, TOKEN, 1, 5))
    engine.outcome(1, 60)
    for id in range(2, 2 + others):
        engine.score(id, 70, record(10, TOKEN, 1, 5))
    assert all(trace in engine.memory() for trace in TRACES), "there is something to erase"
    assert (engine.stats("pending_overflows") > 0) is pushed_out
    engine.erase(TOKEN)
    assert [trace.hex() for trace in TRACES if trace in engine.memory()] == []
    engine.outcome(2 + others - 1, 80)
    assert [trace.hex() for trace in TRACES if trace in engine.memory()] == []
    assert engine.features() == []


def _warm(pack: bytes) -> tuple[Engine, bytes, bytes]:
    """An engine with a history, its image, and a cold image."""
    engine = Engine(pack)
    cold = engine.export()
    for step in story(2, 20):
        step(engine)
    return engine, engine.export(), cold


def _is_cold(engine: Engine, cold: bytes) -> bool:
    return engine.export() == cold


@pytest.mark.parametrize(
    ("offset", "value", "error"),
    [
        (0, b"XXXX", "TFIN_E_STATE_MAGIC"),
        (4, b"\x02", "TFIN_E_STATE_FORMAT"),
        (6, b"\x41", "TFIN_E_STATE_FORMAT"),
        (33, b"\x01", "TFIN_E_STATE_FORMAT"),
        (63, b"\x01", "TFIN_E_STATE_FORMAT"),
        (8, b"\x00\x00", "TFIN_E_STATE_LAYOUT"),
        (16, b"\xaa\xbb", "TFIN_E_STATE_LAYOUT"),
    ],
)
def test_a_foreign_header_has_a_name_and_the_state_goes_on(
    rich: bytes, offset: int, value: bytes, error: str
) -> None:
    engine, image, _ = _warm(rich)
    wrong = image[:offset] + value + image[offset + len(value) :]
    with pytest.raises(Refused, match=error):
        engine.take(wrong)
    assert engine.export() == image


def test_blank_flash_is_no_image_and_the_state_goes_on(rich: bytes) -> None:
    engine, image, _ = _warm(rich)
    for blank in (b"\xff", b"\0"):
        with pytest.raises(Refused, match="TFIN_E_STATE_MAGIC"):
            engine.take(blank * len(image))
        assert engine.export() == image


def test_a_damaged_image_has_a_name_and_leaves_a_cold_state(rich: bytes) -> None:
    engine, image, cold = _warm(rich)
    for at in (12, 64, len(image) - 1):
        engine.take(image)
        wrong = bytearray(image)
        wrong[at] ^= 0x40
        with pytest.raises(Refused, match="TFIN_E_STATE_DIGEST"):
            engine.take(bytes(wrong))
        assert _is_cold(engine, cold)


def test_every_flipped_bit_of_an_image_is_refused(small: bytes) -> None:
    engine = Engine(small)
    cold = engine.export()
    engine.score(1, 9, record(10, 0, 0, 0))
    engine.outcome(1, 10)
    image = engine.export()
    for bit in range(8 * len(image)):
        wrong = bytearray(image)
        wrong[bit >> 3] ^= 1 << (bit & 7)
        engine.take(image)
        with pytest.raises(Refused, match="TFIN_E_STATE_"):
            engine.take(bytes(wrong))
        in_header = bit >> 3 < HEADER and bit >> 3 not in range(12, 16)
        assert engine.export() == (image if in_header else cold)


def test_an_image_of_another_program_is_refused(rich: bytes, small: bytes) -> None:
    engine, image, _ = _warm(rich)
    with pytest.raises(Refused, match="TFIN_E_STATE_LAYOUT"):
        engine.take(Engine(small).export())
    assert engine.export() == image


def test_so_is_one_that_is_longer(rich: bytes, small: bytes) -> None:
    """What keeps an image with its length sees a pack of another program, not a wrong call."""
    engine = Engine(small)
    longer = Engine(rich).export()
    assert len(longer) > engine.state_size
    with pytest.raises(Refused, match="TFIN_E_STATE_LAYOUT"):
        engine.take(longer)


@pytest.mark.parametrize("taken", [64, 1000, -1])
def test_nothing_unchecked_leaves_with_a_good_checksum(rich: bytes, taken: int) -> None:
    """Saving in the middle of an import would write damage, or nothing, over a good image."""
    engine, image, cold = _warm(rich)
    damaged = bytearray(image)
    damaged[200] ^= 0xFF
    engine.take(bytes(damaged[:taken]))
    with pytest.raises(Refused, match="TFIN_E_STATE_ORDER"):
        engine.export()
    with pytest.raises(Refused, match="TFIN_E_STATE_DIGEST"):
        engine.take(bytes(damaged[taken:]), len(image[:taken]))
    assert engine.export() == cold


def test_an_image_outlives_a_new_model(rich: bytes) -> None:
    """Another network and other thresholds, the same program: state goes on."""
    parts = packs.rich()
    parts["CALI"] = packs.calibration(-5000, 5000)
    parts["DECI"] = packs.decision(56, online=1 << 29)
    _, image, _ = _warm(rich)
    other = Engine(packs.build(parts))
    other.take(image)
    assert other.export() == image


def test_a_piece_out_of_order_is_not_taken_and_the_next_one_still_may_be(rich: bytes) -> None:
    engine, image, _ = _warm(rich)
    parts = pieces(image, [300])
    for right, wrong in (((), 1), ((0,), 2), ((0, 1), 1), ((0, 1, 2, 3), 3)):
        for i in right:
            engine.take(parts[i][1], parts[i][0])
        with pytest.raises(Refused, match="TFIN_E_STATE_ORDER"):
            engine.take(parts[wrong][1], parts[wrong][0])
        for at, piece in parts[len(right) :] if right else ():
            engine.take(piece, at)
        assert engine.export() == image


def test_too_much_and_too_little_changes_nothing(rich: bytes) -> None:
    engine, image, _ = _warm(rich)
    for wrong in (image + b"\0", image[:63], b""):
        with pytest.raises(Refused, match="TFIN_E_ARGUMENT"):
            engine.take(wrong)
        assert engine.export() == image
    with pytest.raises(Refused, match="TFIN_E_ARGUMENT"):
        engine.export(1, len(image))
    with pytest.raises(Refused, match="TFIN_E_ARGUMENT"):
        engine.export(0xFFFFFFFF, 2)


def test_an_import_may_start_again(rich: bytes) -> None:
    engine, image, _ = _warm(rich)
    engine.take(image[:500])
    for at, piece in pieces(image, [100]):
        engine.take(piece, at)
    assert engine.export() == image


@pytest.mark.parametrize("call", ["score", "outcome", "notice"])
def test_a_truncated_import_is_abandoned_by_the_next_event(rich: bytes, call: str) -> None:
    engine, image, cold = _warm(rich)
    fresh = Engine(rich)
    engine.take(image[:-1])
    for e in (engine, fresh):
        if call == "score":
            e.score(1, 10, record(5, 6, 1, 2))
        elif call == "notice":
            e.notice(1, 2, 10, 5, 1)
        else:
            with pytest.raises(Refused, match="TFIN_E_UNKNOWN_ID"):
                e.outcome(1, 10)
    assert engine.export() == fresh.export() != cold
    with pytest.raises(Refused, match="TFIN_E_STATE_ORDER"):
        engine.take(image[-1:], len(image) - 1)
    assert engine.export() == fresh.export()


def test_an_erased_card_does_not_come_back_with_the_rest_of_an_import(kept_pack: bytes) -> None:
    """Erased between two pieces: its bytes may be among those that are still to come."""
    engine, token = Engine(kept_pack), 0x1122334455667788
    cold = engine.export()
    engine.score(1, 50, record(10, token, 1, 5))
    engine.outcome(1, 60)
    image = engine.export()
    at = image.index(struct.pack("<Q", token))
    engine.take(image[:at])
    engine.erase(token)
    with pytest.raises(Refused, match="TFIN_E_STATE_ORDER"):
        engine.take(image[at:], at)
    assert _is_cold(engine, cold)


@pytest.mark.parametrize("at", [48, 52], ids=["card tick", "pending sequence"])
def test_counters_that_order_entries_can_grow(rich: bytes, at: int) -> None:
    """At 2^32 - 1 the next entry would get 0, which is a free one's: its outcome was unknown."""
    engine, image, cold = _warm(rich)
    for value, taken in ((2**31 - 1, True), (2**31, False), (2**32 - 1, False)):
        wrong = bytearray(image)
        struct.pack_into("<I", wrong, HEADER + at, value)
        struct.pack_into("<I", wrong, 12, zlib.crc32(wrong[HEADER:]))
        if not taken:
            with pytest.raises(Refused, match="TFIN_E_STATE_DIGEST"):
                engine.take(bytes(wrong))
            assert _is_cold(engine, cold)
            continue
        engine.take(bytes(wrong))
        engine.score(999, 2**21, record(10, 7, 1, 5))
        engine.outcome(999, 2**21)


def test_absurd_counts_with_a_right_checksum_are_refused(rich: bytes) -> None:
    """The label count of the terminal's ring, found by what one notice changes."""
    engine = Engine(rich)
    before = engine.export()
    engine.notice(1, 0, 0, 0, 1)
    image = bytearray(engine.export())
    at = next(i for i in range(128, len(image), 8) if image[i] == 1 and before[i] == 0)
    image[at : at + 4] = struct.pack("<I", 0x80000000)
    image[12:16] = struct.pack("<I", zlib.crc32(image[64:]))
    with pytest.raises(Refused, match="TFIN_E_STATE_DIGEST"):
        engine.take(bytes(image))
    assert _is_cold(engine, before)
