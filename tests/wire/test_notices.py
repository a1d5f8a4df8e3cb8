# SPDX-License-Identifier: Apache-2.0
"""Signed pages of notices change the state of an emulated terminal as they change the twin's."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.kept_terminal import Terminal, until_ended
from tests.support.process import needs_cortex_m
from tinyfin.data.events import event_stream
from tinyfin.errors import TargetError
from tinyfin.field.commands import Opcode
from tinyfin.field.keys import terminal_keys
from tinyfin.field.notices import Notice, Page, make_pages, sign_page
from tinyfin.hil.replay.chunks import by_terminal, chunks
from tinyfin.hil.replay.with_notices import replay_with_notices
from tinyfin.pack.container import parse_pack
from tinyfin.pack.signing import DEVELOPMENT_KEY
from tinyfin.targets import build
from tinyfin.targets.emulate import Emulator
from tinyfin.twin import Twin
from tinyfin.wire import field_frames, slot_frames
from tinyfin.wire.client import Client
from tinyfin.wire.messages import Request
from tinyfin.wire.slot_frames import Result

pytestmark = [pytest.mark.live, needs_cortex_m]
KILLS = int(os.environ.get("KILLS", "10"))
ID = bytes.fromhex("00000000000004d2")
PACK = sample.make_pack()
PAGE = 40
WORD = 4
"""Bytes that the terminal programs at once."""
STATE_LOG = slice(2 * 65536 + 2 * 4096, 2 * 65536 + 2 * 4096 + 2 * 16384)
"""In the file that is the terminal's flash, behind two slots and two journal sectors."""
CLOCK = slice(64, 68)
COUNTERS = slice(96, 108)
"""In a state image: notices, those that came twice, labels that a full ring dropped."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pack = tmp_path_factory.mktemp("factory") / "model.tfpack"
    pack.write_bytes(PACK)
    return build.build("cortex-m4", pack=pack, defines=("TFIN_STATE_LOG",)).elf


@pytest.fixture
def terminal(image: Path, tmp_path: Path) -> Terminal:
    return Terminal(image, tmp_path / "flash.bin")


class Past:
    """A terminal that was never told anything, and what there is to tell: the labels of its
    transactions, then each of them the other way round."""

    def __init__(self) -> None:
        tx = sample.make_transactions()
        chunk = next(by_terminal(tx, event_stream(tx, "none")))
        self.twin = Twin(PACK)
        self.twin.run(chunk.tx, chunk.stream)
        self.before = self.twin.export_state(0)
        token = parse_pack(PACK).token_field
        assert token is not None
        cards = chunk.tx.values[:, token].view(np.uint64)
        rows = zip(chunk.tx.id.tolist(), chunk.tx.t_mono_s.tolist(), cards.tolist(), strict=True)
        told = [Notice(id, t_s, at % 2 == 0, card) for at, (id, t_s, card) in enumerate(rows)]
        self.notices = told + [replace(notice, fraud=not notice.fraud) for notice in told]

    def tell_twin(self, notices: Sequence[Notice]) -> None:
        now_s = int.from_bytes(self.before[CLOCK], "little")
        for x in notices:
            assert self.twin.notice(0, x.id, x.token, now_s, x.t_tx_mono_s, x.fraud) == 0


def signed(notices: Sequence[Notice], size: int) -> list[tuple[Page, bytes]]:
    pages = make_pages(notices, ID, 1, size=size)
    return [(page, sign_page(page, DEVELOPMENT_KEY)) for page in pages]


def begin(client: Client, past: Past) -> None:
    field_frames.provision(client, ID, terminal_keys(bytes(range(32)), ID))
    client.write_state(past.before)


def take(client: Client, page: bytes) -> int:
    return slot_frames.ask(client, slot_frames.info(client), Request.NOTICES, page).result


def uncounted(image: bytes) -> bytes:
    """A state without what counts notices: those of a page that comes again because of a cut are
    counted again."""
    return image[CLOCK.start : COUNTERS.start] + image[COUNTERS.stop :]


def test_the_state_is_the_twins_after_every_page(terminal: Terminal) -> None:
    past = Past()
    with terminal.on() as (client, _):
        begin(client, past)
        for page, data in signed(past.notices[-64:], 8):
            past.tell_twin(page.notices)
            for wanted in (Result.OK, Result.COUNTER):
                assert take(client, data) == wanted
                assert client.checkpoint().state_digest == past.twin.state_digest(0)
    with terminal.on() as (client, _):
        assert client.checkpoint().state_digest == past.twin.state_digest(0)
    assert uncounted(past.twin.export_state(0)) != uncounted(past.before)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 1.0])
def test_a_page_that_a_cut_interrupts_is_done_when_it_comes_again(
    terminal: Terminal, share: float
) -> None:
    """The flash after a part of what a page writes to the state log, and nothing to the journal."""
    past = Past()
    pages = signed(past.notices[: 3 * PAGE], PAGE)
    with terminal.on() as (client, _):
        begin(client, past)
        assert take(client, pages[0][1]) == Result.OK
        before = terminal.kept.read_bytes()
        assert take(client, pages[1][1]) == Result.OK
        after = terminal.kept.read_bytes()
    words = range(STATE_LOG.start, STATE_LOG.stop, WORD)
    written = [at for at in words if before[at : at + WORD] != after[at : at + WORD]]
    cut = bytearray(before)
    for at in written[: 1 + int(share * len(written))]:
        cut[at : at + WORD] = after[at : at + WORD]
    terminal.kept.write_bytes(cut)
    past.tell_twin(past.notices[: 3 * PAGE])
    with terminal.on() as (client, _):
        assert field_frames.challenge(client).notices == 1
        assert client.stats()["notices"] == PAGE + int(share * PAGE)
        field_frames.send_notices(client, pages)
        assert uncounted(client.read_state()) == uncounted(past.twin.export_state(0))


def test_verdicts_behind_notices_are_the_twins_and_a_difference_is_found(
    terminal: Terminal,
) -> None:
    tx = sample.make_transactions()
    chunk = next(by_terminal(tx, event_stream(tx, "none")))
    past, later = chunks(chunk, len(chunk.stream) // 2 + 1)
    pages = signed(Past().notices[:96], 8)
    others = [replace(page, notices=page.notices[1:]) for page, _ in pages]
    with terminal.on() as (client, _):
        field_frames.provision(client, ID, terminal_keys(bytes(range(32)), ID))
        told = replay_with_notices(PACK, past, pages, later, client)
    assert (told.notices, told.pages, told.mismatches) == (96, 12, 0)
    assert 0 < told.changed <= told.verdicts == later.scores
    terminal.kept.unlink()
    with terminal.on() as (client, _):
        field_frames.provision(client, ID, terminal_keys(bytes(range(32)), ID))
        sent = [(other, data) for other, (_, data) in zip(others, pages, strict=True)]
        assert replay_with_notices(PACK, past, sent, later, client).mismatches > 1


def kill_when_written(emulator: Emulator, kept: Path, wait_s: float) -> None:
    """Kill the emulator so long after it next writes to the state log."""
    with kept.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as flash:
        before, end = flash[STATE_LOG], time.monotonic() + 10
        while flash[STATE_LOG] == before and time.monotonic() < end:
            pass
    time.sleep(wait_s)
    os.kill(emulator.pid, signal.SIGKILL)


def test_kills_lose_no_notice_and_double_none(terminal: Terminal) -> None:
    past = Past()
    chance = random.Random(int(os.environ.get("KILL_SEED", "1")))
    pages = signed(past.notices, PAGE)
    within = 0
    with terminal.on() as (client, _):
        begin(client, past)
    for _ in range(KILLS):
        with terminal.on() as (client, emulator):
            first = field_frames.challenge(client).notices
            for _, data in pages[first : first + chance.randrange(3)]:
                assert take(client, data) == Result.OK
                first += 1
            how = emulator, terminal.kept, chance.choice((0, 0, 0.0005, 0.02))
            killer = threading.Thread(target=kill_when_written, args=how)
            killer.start()
            try:
                take(client, pages[first][1])
            except (TargetError, OSError):
                pass
            finally:
                killer.join()
                until_ended(emulator)
        with terminal.on() as (client, _):
            within += field_frames.challenge(client).notices == first
    past.tell_twin(past.notices)
    with terminal.on() as (client, _):
        field_frames.send_notices(client, pages)
        assert uncounted(client.read_state()) == uncounted(past.twin.export_state(0))
    print(f"{KILLS} kills, {within} within a page")


def test_a_card_is_erased_by_a_command(terminal: Terminal) -> None:
    past = Past()
    card = past.notices[0].token
    past.tell_twin(past.notices[:8])
    past.twin.erase_card(0, card)
    with terminal.on() as (client, _):
        begin(client, past)
        field_frames.send_notices(client, signed(past.notices[:8], 8))
        field_frames.command(client, Opcode.ERASE_CARD, DEVELOPMENT_KEY, value=card)
        assert client.checkpoint().state_digest == past.twin.state_digest(0)
