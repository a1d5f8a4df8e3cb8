# SPDX-License-Identifier: Apache-2.0
"""A pack with another feature program comes into service in an emulated terminal that has memory
for a second state: in shadow beside its own state, then on trial with that state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.kept_terminal import Terminal, learned
from tests.support.probation_packs import model_of, other_program, shadowed, with_bounds
from tests.support.process import needs_cortex_m
from tinyfin.data.events import Stream
from tinyfin.data.transactions import Transactions
from tinyfin.field.probation import parse_image
from tinyfin.hil.replay.chunks import by_terminal
from tinyfin.oracle.probation import Bounds
from tinyfin.targets import build
from tinyfin.twin import Replay, Twin
from tinyfin.wire import slot_frames
from tinyfin.wire.client import Client
from tinyfin.wire.slot_frames import Command, Phase, Place, Reason, SlotInfo

pytestmark = [pytest.mark.live, needs_cortex_m]
RUNNING, OTHER = sample.make_pack(), other_program()
LOOK, EVENTS = 60, 150
WIDE = (0xFFFF, 0xFFFF, 0xFFFF)
WITH_STATE = ("TFIN_SHADOW_STATE", "TFIN_STATE_LOG")


@cache
def transactions() -> tuple[Transactions, Stream]:
    tx = sample.make_transactions(terminals=1)
    return tx, sample.make_stream(tx)


@cache
def alone(pack: bytes) -> Replay:
    """What a pack makes of the transactions when it runs by itself."""
    return Twin(pack).run(*transactions())


def cuts(pack: bytes) -> tuple[int, ...]:
    found = np.unique(alone(pack).score_q32)
    return tuple(int(found[len(found) * place // 100]) for place in (50, 80, 95))


BOUNDS = Bounds(model_of(RUNNING), cuts(RUNNING), cuts(OTHER), ((LOOK, *WIDE),), trial_events=40)
GOOD = with_bounds(OTHER, BOUNDS, counter=1)
BY_ITSELF = with_bounds(OTHER, replace(BOUNDS, flags=1), counter=1)


def counts(number: int, candidate: bytes = GOOD, of: Bounds = BOUNDS) -> object:
    """What the oracle counts of the first events."""
    found = shadowed(candidate, of, alone(RUNNING), alone(OTHER), number, own_state=True)
    return parse_image(found.image())


def knows(pack: bytes, number: int) -> bytes:
    """What the twin has learned of the first events."""
    chunk = next(iter(by_terminal(*transactions(), number)))
    twin = Twin(pack)
    twin.run(chunk.tx, chunk.stream)
    return learned(twin.export_state(0), pack)


def known(client: Client, pack: bytes) -> bytes:
    return learned(client.read_state(), pack)


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pack = tmp_path_factory.mktemp("factory") / "model.tfpack"
    pack.write_bytes(RUNNING)
    return pack


@contextmanager
def terminal(
    factory: Path, kept: Path, target: str = "cortex-m4", defines: tuple[str, ...] = WITH_STATE
) -> Iterator[Client]:
    image = build.build(target, pack=factory, defines=defines).elf
    with Terminal(image, kept / "flash.bin", target).on() as (client, _):
        yield client


def restart(client: Client) -> SlotInfo:
    client.reboot()
    client.connect()
    return slot_frames.info(client)


def replayed(client: Client, pack: bytes, limit: int) -> SlotInfo:
    """Verdicts, features, outputs and states are those of the pack alone, or the check fails. Each
    replay begins with a cold state, that of a shadow too."""
    sample.replayed(client, pack, transactions()[0], limit=limit).check()
    return slot_frames.info(client)


def in_shadow(client: Client, pack: bytes) -> None:
    assert slot_frames.install(client, pack).phase == Phase.STAGED
    assert slot_frames.command(client, Command.ACTIVATE).phase == Phase.SHADOW
    assert restart(client).running == Place.FACTORY


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m33", "rv32imc"])
def test_its_counts_are_the_oracles_and_its_state_goes_into_the_trial(
    target: str, factory: Path, tmp_path: Path
) -> None:
    with terminal(factory, tmp_path, target) as client:
        in_shadow(client, BY_ITSELF)
        assert replayed(client, RUNNING, 50).phase == Phase.SHADOW
        assert slot_frames.probation(client) == counts(50, BY_ITSELF)
        assert known(client, RUNNING) == knows(RUNNING, 50)
        assert replayed(client, RUNNING, EVENTS).phase == Phase.TRIAL, "it goes on by itself"
        assert restart(client).running == Place.SLOT_0
        assert known(client, OTHER) == knows(OTHER, EVENTS)
        assert any(knows(OTHER, EVENTS))


def test_without_memory_for_it_the_trial_begins_at_once_and_cold(
    factory: Path, tmp_path: Path
) -> None:
    """The negative control."""
    with terminal(factory, tmp_path, defines=WITH_STATE[1:]) as client:
        replayed(client, RUNNING, EVENTS)
        slot_frames.install(client, GOOD)
        assert slot_frames.command(client, Command.ACTIVATE).phase == Phase.TRIAL
        assert restart(client).running == Place.SLOT_0
        assert not any(known(client, OTHER))


def test_a_restart_begins_the_shadow_anew(factory: Path, tmp_path: Path) -> None:
    """Its state is in memory alone, and its counts are of no other state; the running pack's comes
    back from flash."""
    with terminal(factory, tmp_path) as client:
        in_shadow(client, GOOD)
        replayed(client, RUNNING, 50)
        assert slot_frames.probation(client) == counts(50)
        assert restart(client).phase == Phase.SHADOW
        assert known(client, RUNNING) == knows(RUNNING, 50)
        assert slot_frames.probation(client) == counts(0)
        replayed(client, RUNNING, 40)
        assert slot_frames.probation(client) == counts(40)


def test_a_revert_before_the_restart_keeps_the_state_of_the_pack_that_runs(
    factory: Path, tmp_path: Path
) -> None:
    with terminal(factory, tmp_path) as client:
        in_shadow(client, GOOD)
        replayed(client, RUNNING, 30)
        assert slot_frames.command(client, Command.TRY).phase == Phase.TRIAL
        replayed(client, RUNNING, EVENTS)
        assert slot_frames.probation(client) is None, "its shadow has ended"
        assert slot_frames.command(client, Command.REVERT).reason == Reason.REVERTED
        assert restart(client).running == Place.FACTORY
        assert known(client, RUNNING) == knows(RUNNING, EVENTS)


def test_the_slot_of_a_shadow_that_was_aborted_is_written_over(
    factory: Path, tmp_path: Path
) -> None:
    shares = with_bounds(sample.make_pack(2), replace(BOUNDS, cuts=cuts(RUNNING)), counter=1)
    with terminal(factory, tmp_path) as client:
        in_shadow(client, GOOD)
        replayed(client, RUNNING, 10)
        slot_frames.command(client, Command.ABORT)
        assert slot_frames.install(client, shares).phase == Phase.STAGED
        replayed(client, RUNNING, EVENTS)
        assert slot_frames.command(client, Command.ACTIVATE).phase == Phase.SHADOW
        restart(client)
        assert replayed(client, RUNNING, LOOK - 1).phase == Phase.SHADOW
        found = slot_frames.probation(client)
        assert found is not None
        assert found.events == LOOK - 1, "it shares the state, and is not cold"


def test_a_pack_that_leaves_its_bounds_never_runs(factory: Path, tmp_path: Path) -> None:
    bad = with_bounds(OTHER, replace(BOUNDS, looks=((LOOK, 0, 0, 0),)), counter=1)
    with terminal(factory, tmp_path) as client:
        in_shadow(client, bad)
        after = replayed(client, RUNNING, EVENTS)
        assert (after.phase, after.reason) == (Phase.NONE, Reason.SHADOW)
        assert restart(client).running == Place.FACTORY
        assert known(client, RUNNING) == knows(RUNNING, EVENTS)


def test_a_reset_makes_both_states_cold(factory: Path, tmp_path: Path) -> None:
    with terminal(factory, tmp_path) as client:
        in_shadow(client, GOOD)
        replayed(client, RUNNING, EVENTS)
        client.reset_state()
        slot_frames.command(client, Command.TRY)
        assert restart(client).running == Place.SLOT_0
        assert not any(known(client, OTHER))
