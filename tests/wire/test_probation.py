# SPDX-License-Identifier: Apache-2.0
"""A pack comes into service by itself in an emulated terminal: shadow, trial, confirmed; or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.kept_terminal import Terminal
from tests.support.probation_packs import model_of, shadowed, with_bounds
from tests.support.process import needs_cortex_m
from tinyfin.errors import TargetError
from tinyfin.field.probation import parse_image
from tinyfin.oracle.probation import Bounds
from tinyfin.targets import build, catalogue
from tinyfin.twin import Replay, Twin
from tinyfin.wire import slot_frames
from tinyfin.wire.client import Client
from tinyfin.wire.slot_frames import Command, Phase, Place, Reason, SlotInfo

pytestmark = [pytest.mark.live, needs_cortex_m]
RUNNING, OTHER = sample.make_pack(), sample.make_pack(2)
LOOK, TRIAL = 60, 40
WIDE = (0xFFFF, 0xFFFF, 0xFFFF)


@cache
def alone(pack: bytes) -> Replay:
    """What a pack makes of one terminal's transactions when it runs by itself."""
    tx = sample.make_transactions(terminals=1)
    return Twin(pack).run(tx, sample.make_stream(tx))


def cuts(pack: bytes) -> tuple[int, ...]:
    found = np.unique(alone(pack).score_q32)
    return tuple(int(found[len(found) * place // 100]) for place in (50, 80, 95))


BOUNDS = Bounds(
    model_of(RUNNING), cuts(RUNNING), cuts(OTHER), ((LOOK, *WIDE),), 3, trial_events=TRIAL
)
GOOD = with_bounds(OTHER, BOUNDS, counter=1)
BAD = with_bounds(OTHER, replace(BOUNDS, looks=((LOOK, 0, 0, 0),)), counter=1)
FLOODS = with_bounds(OTHER, replace(BOUNDS, trial_alerts=0), counter=1)
BY_COMMAND = with_bounds(OTHER, replace(BOUNDS, flags=0), counter=1)


def expected(number: int, candidate: bytes = GOOD, of: Bounds = BOUNDS) -> bytes:
    return shadowed(candidate, of, alone(RUNNING), alone(OTHER), number).image()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pack = tmp_path_factory.mktemp("factory") / "model.tfpack"
    pack.write_bytes(RUNNING)
    return build.build(catalogue.get("cortex-m4"), pack=pack).elf


@pytest.fixture
def client(image: Path, tmp_path: Path) -> Iterator[Client]:
    with Terminal(image, tmp_path / "flash.bin").on() as (client, _):
        yield client


def restart(client: Client) -> SlotInfo:
    client.reboot()
    client.connect()
    return slot_frames.info(client)


def replayed(client: Client, pack: bytes, limit: int) -> SlotInfo:
    """Verdicts, features, outputs and states are those of the pack alone, or the check fails."""
    tx = sample.make_transactions(terminals=1)
    sample.replayed(client, pack, tx, limit=limit).check()
    return slot_frames.info(client)


def staged(client: Client, pack: bytes) -> SlotInfo:
    assert slot_frames.install(client, pack).phase == Phase.STAGED
    return slot_frames.command(client, Command.ACTIVATE)


def test_a_good_pack_comes_into_service_by_itself(client: Client) -> None:
    assert staged(client, GOOD).phase == Phase.SHADOW
    assert slot_frames.probation(client) is None, "it begins at the next start"
    assert restart(client).running == Place.FACTORY
    assert replayed(client, RUNNING, LOOK - 1).phase == Phase.SHADOW
    assert slot_frames.probation(client) == parse_image(expected(LOOK - 1))
    assert replayed(client, RUNNING, 1).phase == Phase.TRIAL, "it goes on by itself"
    trial = restart(client)
    assert (trial.running, trial.phase) == (Place.SLOT_0, Phase.TRIAL)
    assert replayed(client, GOOD, TRIAL - 1).phase == Phase.TRIAL
    counts = slot_frames.probation(client)
    assert counts is not None
    assert (counts.phase, counts.events) == ("trial", TRIAL - 1)
    assert counts.alerts == np.count_nonzero(alone(OTHER).action[: TRIAL - 1])
    after = replayed(client, GOOD, 1)
    assert (after.active, after.phase, after.reason) == (Place.SLOT_0, Phase.NONE, Reason.CONFIRMED)
    assert after.floor == 1


def test_a_pack_that_leaves_its_bounds_in_shadow_never_runs(client: Client) -> None:
    staged(client, BAD)
    restart(client)
    after = replayed(client, RUNNING, LOOK)
    assert (after.phase, after.reason) == (Phase.NONE, Reason.SHADOW)
    again = restart(client)
    assert (again.running, again.reason) == (Place.FACTORY, Reason.SHADOW)
    with pytest.raises(TargetError, match="left its bounds"):
        slot_frames.install(client, BAD)


def test_a_pack_that_floods_in_trial_goes(client: Client) -> None:
    staged(client, FLOODS)
    slot_frames.command(client, Command.TRY)
    assert restart(client).running == Place.SLOT_0
    after = replayed(client, FLOODS, TRIAL)
    assert (after.phase, after.reason) == (Phase.NONE, Reason.TRIAL)
    assert restart(client).running == Place.FACTORY


def test_by_command(client: Client) -> None:
    """Nothing advances by itself; a repeated ACTIVATE does not skip the shadow, TRY does."""
    staged(client, BY_COMMAND)
    with pytest.raises(TargetError, match="phase SHADOW"):
        slot_frames.command(client, Command.ACTIVATE)
    restart(client)
    assert replayed(client, RUNNING, LOOK + 5).phase == Phase.SHADOW
    counts = slot_frames.probation(client)
    assert counts is not None
    assert (counts.result, counts.events) == ("passed", LOOK)
    assert slot_frames.command(client, Command.TRY).phase == Phase.TRIAL
    restart(client)
    assert replayed(client, BY_COMMAND, TRIAL).phase == Phase.TRIAL
    assert slot_frames.command(client, Command.CONFIRM).reason == Reason.CONFIRMED


def test_a_pack_without_bounds_goes_on_trial(client: Client) -> None:
    assert staged(client, OTHER).phase == Phase.TRIAL


def test_an_install_waits_until_the_shadow_is_aborted(client: Client) -> None:
    staged(client, GOOD)
    restart(client)
    with pytest.raises(TargetError):
        slot_frames.install(client, BAD)
    slot_frames.command(client, Command.ABORT)
    assert slot_frames.install(client, BAD).phase == Phase.STAGED
    assert slot_frames.probation(client) is None
    replayed(client, RUNNING, 20)


def test_what_one_pack_came_to_decides_nothing_of_the_next_one(client: Client) -> None:
    """Nor are its bounds read, which are written over: the next one's probation begins at the next
    start."""
    staged(client, BAD)
    restart(client)
    assert replayed(client, RUNNING, LOOK).reason == Reason.SHADOW
    assert staged(client, GOOD).phase == Phase.SHADOW
    assert replayed(client, RUNNING, 3).phase == Phase.SHADOW, "it did not fail with BAD"
    assert slot_frames.probation(client) is None
    restart(client)
    replayed(client, RUNNING, LOOK)
    assert restart(client).running == Place.SLOT_0
    assert replayed(client, GOOD, TRIAL).reason == Reason.CONFIRMED
    back = replace(BOUNDS, parent=model_of(OTHER), parent_cuts=cuts(OTHER), cuts=cuts(RUNNING))
    assert staged(client, with_bounds(RUNNING, back, counter=2)).phase == Phase.SHADOW
    assert replayed(client, GOOD, 3).phase == Phase.SHADOW, "it has not passed with GOOD"
