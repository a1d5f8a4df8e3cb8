# SPDX-License-Identifier: Apache-2.0
"""Ten thousand events on every core: features, network, verdict and state, 0 bytes differ."""

from __future__ import annotations

import pytest

from benchmarks import targets as benchmarks
from tests.conformance.conftest import (
    EVENTS,
    labelled_tapes,
    on_target,
    shadow_tape,
    stock_pack,
    tapes,
)
from tests.support import sample
from tinyfin.hil.links.session import emulated
from tinyfin.measure import instrument
from tinyfin.targets import build as building
from tinyfin.targets import catalogue, flash, image_size

LARGE = 512 << 10
SABOTAGED = ("cortex-m3", "rv32imc", "xtensa-lx106")
FIELD = 1


@pytest.mark.parametrize("name", on_target())
def test_ten_thousand_events(name: str) -> None:
    """Bulk: tapes in the guest's memory, a digest after every event, state and image at the end."""
    image = instrument.build(name)
    scored = 0
    for tape, scores in tapes(image.target.layout, min(instrument.room(image), LARGE)):
        found = instrument.run(image, tape)
        assert not found.differing, f"{name}: {found.first}"
        assert found.scored == scores
        scored += scores
    assert scored >= EVENTS


@pytest.mark.parametrize("name", on_target())
def test_labels_weigh_and_monitors_count_the_same(name: str) -> None:
    image = instrument.build(name)
    room = min(instrument.room(image), LARGE)
    scored = 0
    for tape, scores in labelled_tapes(image.target.layout, room):
        found = instrument.run(image, tape)
        assert not found.differing, f"{name}: {found.first}"
        assert found.scored == scores
        scored += scores
    assert scored > 1000


@pytest.mark.parametrize("name", on_target("cortex-m3"))
def test_a_monitor_that_counts_one_more_is_named(name: str) -> None:
    """Negative control: one byte of the image that is expected."""
    image = instrument.build(name)
    tape, _ = labelled_tapes(image.target.layout, min(instrument.room(image), LARGE))[0]
    data = tape.bytes()
    at = data.index(b"TFMN") + 24 + 18
    wrong = instrument.Tape()
    wrong.extend(tape)
    wrong.flip(at - 16)
    found = instrument.run(image, wrong)
    assert found.first.startswith("monitor at event")


@pytest.mark.parametrize("name", on_target())
def test_a_shadow_scores_the_same_and_nobody_sees_it(name: str) -> None:
    """The answers on the tape are those of the running pack alone; the image has the oracle's
    counts and the digest of the shadow's own raw scores, probabilities and actions."""
    image = instrument.build(name)
    tape, scores, _ = shadow_tape(image.target.layout, min(instrument.room(image), LARGE))
    found = instrument.run(image, tape)
    assert found.numbers("shadow")[0][0] == 0
    assert not found.differing, f"{name}: {found.first}"
    assert found.scored == scores


@pytest.mark.parametrize("name", on_target("cortex-m3"))
def test_another_answer_of_the_shadow_is_named(name: str) -> None:
    """Negative control: one bit of the digest that is expected of it."""
    image = instrument.build(name)
    tape, _, at = shadow_tape(image.target.layout, min(instrument.room(image), LARGE))
    wrong = instrument.Tape()
    wrong.extend(tape)
    wrong.flip(at)
    assert instrument.run(image, wrong).first.startswith("probation at event")


@pytest.mark.parametrize("name", on_target())
def test_terminal_application_boots_and_replays(name: str) -> None:
    """The serial road, short: the application itself, its wire and the state's digest."""
    target = catalogue.get(name)
    pack = flash.target_pack(stock_pack(), target)
    image = building.build(target, pack=pack)
    with emulated(target, image.elf, icount=False) as session:
        how = {"limit": 120, "target": name, "checkpoint_events": 200}
        result = sample.replayed(session.client, pack.read_bytes(), **how)
        total, free = session.client.stack()
    result.check()
    assert result.verdicts == 120
    parts = image_size.image_budget(image, pack)
    assert parts.flash_bytes == image.flash_bytes
    assert parts.ram_bytes == image.ram_bytes
    assert image.ram_bytes + total - free <= target.ram_bytes
    assert parts.stack_bound_bytes is not None
    assert total - free <= parts.stack_bound_bytes, "the call graph misses something"
    own = parts.flash_bytes - parts.flash["plan"] - parts.flash["pack"]
    slots = parts.flash["slots and journal"]
    rest = own - parts.flash["signature check"] - slots
    if target.architecture == "riscv":  # whose code is a fifth larger than Thumb
        assert rest <= 40 << 10
        assert slots <= 13 << 10
    else:
        assert rest <= (33 if slots else 35) << 10
        assert slots <= 11 << 10


@pytest.mark.parametrize("name", on_target("cortex-m4", "stm32f405", "rv32imc"))
def test_boots_that_take_equally_long_have_different_nonces(name: str) -> None:
    """QEMU writes the seed again at a reset, and -icount makes the ticks the same."""
    target = catalogue.get(name)
    image = building.build(target, pack=flash.target_pack(stock_pack(), target))
    nonces = []
    with emulated(target, image.elf, icount=True) as session:
        for _ in range(5):
            nonces.append(session.client.connect().boot_nonce)
            session.client.reboot()
    assert len(set(nonces)) == 5, nonces


@pytest.mark.parametrize("name", on_target("cortex-m0", "cortex-m4", "xtensa-lx106"))
def test_a_verified_pack_is_opened_within_two_thousand_instructions(name: str) -> None:
    """The golden vectors apart; everything that reads the whole pack was the integrity pass."""
    target = catalogue.get(name)
    pack = flash.target_pack(stock_pack(), target).read_bytes()
    for one in (pack, benchmarks.network_only(pack)):
        found = benchmarks.opening(target, one)
        assert 0 < found["open_instructions"] <= 2000
        assert found["golden_instructions"] > 8 * 2000
        assert found["contents_instructions"] > found["open_instructions"]


@pytest.mark.parametrize("name", on_target(*SABOTAGED))
def test_an_operator_off_by_one_is_caught(name: str) -> None:
    """Negative control: the same tape on an image whose operator FIELD adds one."""
    image = instrument.build(name, probe=True)
    tx = sample.make_transactions()
    stream = sample.make_stream(tx)
    for code, caught in ((None, False), (FIELD, True)):
        [(tape, _)] = instrument.event_tapes(
            stock_pack().read_bytes(), tx, stream, instrument.room(image), limit=50, sabotage=code
        )
        found = instrument.run(image, tape)
        assert bool(found.differing) is caught
        assert ("verdict at event 0" in found.first) is caught


@pytest.mark.parametrize("name", on_target("cortex-m3"))
def test_one_wrong_answer_is_named(name: str) -> None:
    """Negative control of the comparison: one bit of one expected digest."""
    image = instrument.build(name)
    tx = sample.make_transactions()
    [(tape, scores)] = instrument.event_tapes(
        stock_pack().read_bytes(), tx, sample.make_stream(tx), instrument.room(image), limit=40
    )
    assert scores == 40
    records = instrument.digest_positions(tape)
    tape.flip(records[17])
    found = instrument.run(image, tape)
    assert found.differing == 1
    assert found.first.startswith("verdict at event 17:")
