# SPDX-License-Identifier: Apache-2.0
"""An emulated terminal remembers through a pulled plug what it had learned."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.kept_terminal import Terminal, learned, until_ended
from tests.support.process import ROOT, needs_cortex_m
from tinyfin import config, simulator
from tinyfin.data.readers import read
from tinyfin.data.transactions import NO_RESULT, Transactions
from tinyfin.errors import TargetError
from tinyfin.targets import build
from tinyfin.wire import slot_frames
from tinyfin.wire.client import Client
from tinyfin.wire.event_frames import EventsFrame, Outcome, field_types
from tinyfin.wire.frames import OVERHEAD_BYTES
from tinyfin.wire.messages import Request, WireVerdict, parse_verdicts
from tinyfin.wire.slot_frames import StateFound, StateLog

pytestmark = [pytest.mark.live, needs_cortex_m]
PACK = ROOT / "models" / "payment" / "model.tfpack"
BURSTS = int(os.environ.get("BURSTS", "4"))
KILLS = int(os.environ.get("STATE_KILLS", "10"))
BEFORE = 10
"""Card tests of a burst that come before the cut; as many come after it."""
HISTORY = 300


@pytest.fixture(scope="module")
def image() -> Path:
    return build.build("cortex-m4", pack=PACK, defines=("TFIN_STATE_LOG",)).elf


@pytest.fixture
def terminal(image: Path, tmp_path: Path) -> Terminal:
    return Terminal(image, tmp_path / "flash.bin")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Transactions:
    """A month with much card testing."""
    settings = config.load(None).simulate.model_copy(
        update={"terminals": 30, "days": 30, "seed": 11, "attacks": {"card_testing": 20.0}}
    )
    path = tmp_path_factory.mktemp("town") / "data.parquet"
    simulator.write(simulator.simulate(settings), path)
    return read(path, config.load(None))


def score(client: Client, tx: Transactions, rows: Sequence[int]) -> list[WireVerdict]:
    """Verdicts of transactions, each with its outcome."""
    types = field_types(PACK.read_bytes())
    room = client.frame_bytes - OVERHEAD_BYTES - 6
    verdicts: list[WireVerdict] = []
    while len(rows):
        frame = EventsFrame(types, room, 12, 12, int(tx.t_mono_s[rows[0]]))
        while frame.count < len(rows):
            row = rows[frame.count]
            end = None
            if tx.result[row] != NO_RESULT:
                t_s, result = int(tx.outcome_t_mono_s[row]), int(tx.result[row])
                end = Outcome(t_s, result, 3, int(tx.response[row]))
            at = int(tx.t_mono_s[row]), int(tx.t_local_s[row])
            values = [int(value) for value in tx.values[row]]
            if not frame.score(int(tx.id[row]), *at, values, int(tx.present[row]), end):
                break
        answer = parse_verdicts(client.ordered(Request.EVENTS, frame.payload()), frame.scores)
        assert not answer.errors
        verdicts += answer.verdicts
        rows = rows[frame.count :]
    return verdicts


def log_of(client: Client) -> StateLog:
    log = slot_frames.info(client).state_log
    assert log is not None
    return log


def learned_of(client: Client) -> bytes:
    return learned(client.read_state(), PACK.read_bytes())


def test_what_was_learned_is_there_after_a_pulled_plug(
    terminal: Terminal, town: Transactions
) -> None:
    rows = np.flatnonzero(town.terminal == 0)[:400]
    with terminal.on() as (client, _):
        assert log_of(client) == StateLog(StateFound.BLANK, True, 0, 0, 0)
        score(client, town, rows[:200])
        before = learned_of(client)
    with terminal.on() as (client, _):
        log = log_of(client)
        assert (log.found, log.works) == (StateFound.FOUND, True)
        assert log.restored == log.events > 0
        assert learned_of(client) == before
        assert any(before)
        again = score(client, town, rows[200:])
    with Terminal(terminal.image, terminal.kept.with_suffix(".other")).on() as (client, _):
        assert score(client, town, rows)[200:] == again


def test_a_kill_loses_at_most_the_last_outcome(terminal: Terminal, town: Transactions) -> None:
    rows = np.flatnonzero(town.terminal == 1)[:150]
    with Terminal(terminal.image, terminal.kept.with_suffix(".whole")).on() as (client, _):
        states = [learned_of(client)]
        for row in rows:
            score(client, town, [row])
            states.append(learned_of(client))
    rng = random.Random(int(os.environ.get("KILL_SEED", "1")))
    known = images = 0
    for _ in range(KILLS):
        with terminal.on() as (client, emulator):
            log = log_of(client)
            assert log.images >= images
            images = log.images
            now = learned_of(client)
            assert now in states[known : known + 2]
            known += now != states[known]
            timer = threading.Timer(rng.uniform(0.0, 0.4), os.kill, (emulator.pid, signal.SIGKILL))
            timer.start()
            try:
                while timer.is_alive() and known < len(rows) - 1:
                    score(client, town, [rows[known]])
                    known += 1
            except (TargetError, OSError):
                pass
            finally:
                timer.join()
                until_ended(emulator)
    print(f"{KILLS} kills, {known} events, {images} images")
    assert known > KILLS
    assert images > KILLS / 2


def bursts(tx: Transactions) -> list[np.ndarray]:
    """Rows of runs of card testing, with what the terminal did before."""
    assert tx.scenario is not None
    code = tx.scenario.index("card_testing")
    found = []
    for terminal in np.unique(tx.terminal[tx.scenario_code == code]):
        rows = np.flatnonzero(tx.terminal == terminal)
        first = int(np.flatnonzero(tx.scenario_code[rows] == code)[0])
        after = rows[first : first + 2 * BEFORE]
        if first > HISTORY and (tx.scenario_code[after] == code).mean() > 0.85:
            found.append(rows[first - HISTORY : first + 2 * BEFORE])
    return found


def test_card_testing_is_caught_across_a_pulled_plug(
    image: Path, town: Transactions, tmp_path: Path
) -> None:
    """The verdicts behind the cut are those of a terminal that was never cut. With the state of
    that morning in place of the log, the burst is not seen."""
    caught = {"running": 0, "log": 0, "morning": 0}
    found = bursts(town)
    assert len(found) >= BURSTS
    for number, rows in enumerate(found[:BURSTS]):
        before, burst = rows[: -2 * BEFORE], rows[-2 * BEFORE :]
        morning = np.flatnonzero(
            town.t_local_s[before] // 86400 < town.t_local_s[burst[0]] // 86400
        )[-1]
        whole = Terminal(image, tmp_path / f"whole{number}.bin")
        cut = Terminal(image, tmp_path / f"cut{number}.bin")
        with whole.on() as (client, _):
            score(client, town, before[: morning + 1])
            saved = client.read_state()
            score(client, town, [*before[morning + 1 :], *burst[:BEFORE]])
            running = score(client, town, burst[BEFORE:])
            client.write_state(saved)
            cold = score(client, town, burst[BEFORE:])
        with cut.on() as (client, _):
            client.write_state(saved)
            score(client, town, [*before[morning + 1 :], *burst[:BEFORE]])
        with cut.on() as (client, _):
            assert log_of(client).restored > 0
            log = score(client, town, burst[BEFORE:])
        assert log == running
        for name, verdicts in (("running", running), ("log", log), ("morning", cold)):
            caught[name] += verdicts[0].action != 0
    print(f"of {BURSTS} bursts, the first card test behind the cut is caught: {caught}")
    assert caught["log"] == caught["running"] > BURSTS / 2
    assert caught["morning"] < caught["log"]
