# SPDX-License-Identifier: Apache-2.0
"""Packs are replaced in an emulated terminal whose flash outlives it."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from tests.support import sample
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.kept_terminal import Terminal, until_ended
from tests.support.process import ROOT, needs_cortex_m
from tests.wire.test_terminal import raw_answer, small_frame
from tinyfin.errors import TargetError
from tinyfin.pack.container import parse_pack, sign_with
from tinyfin.pack.signing import DEVELOPMENT_KEY, generate_key
from tinyfin.targets import build, catalogue
from tinyfin.wire import slot_frames
from tinyfin.wire.client import Client
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.messages import Answer, Capability, Request
from tinyfin.wire.slot_frames import Command, Journal, Phase, Place, Reason, SlotInfo

pytestmark = [pytest.mark.live, needs_cortex_m]
KILLS = int(os.environ.get("KILLS", "25"))
DAYS = itertools.count(1)


def signed(seed: int, counter: int) -> bytes:
    return sign_with(parse_pack(sample.make_pack(seed)), DEVELOPMENT_KEY, security_counter=counter)


PACKS = [signed(2, 1), signed(3, 2), signed(4, 2)]
TAGS = [parse_pack(pack).pack_id.hex()[:8] for pack in PACKS]


every_machine = pytest.mark.parametrize(
    "machine",
    [name for name, target in catalogue.emulated().items() if target.emulator.kept],
    indirect=True,
    scope="module",
)


@pytest.fixture(scope="module")
def machine(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "cortex-m4"))


@pytest.fixture(scope="module")
def image(machine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pack = tmp_path_factory.mktemp("factory") / "model.tfpack"
    pack.write_bytes(sample.make_pack())
    return build.build(catalogue.get(machine), pack=pack).elf


@pytest.fixture
def terminal(image: Path, machine: str, tmp_path: Path) -> Terminal:
    return Terminal(image, tmp_path / "flash.bin", machine)


def restart(client: Client) -> SlotInfo:
    client.reboot()
    client.connect()
    return slot_frames.info(client)


def score_some(client: Client) -> None:
    client.ordered(Request.EVENTS, small_frame(first_id=random.randrange(1 << 40), count=9))


@every_machine
def test_a_pack_is_installed_tried_and_confirmed(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        first = slot_frames.info(client)
        assert (first.active, first.phase) == (Place.FACTORY, Phase.NONE)
        erased = terminal.target != "rv32imc"  # its file is zeros at first, and erased it has ones
        assert first.journal == (Journal.BLANK if erased else Journal.LOST)
        staged = slot_frames.install(client, PACKS[1])
        assert (staged.phase, staged.other_tag) == (Phase.STAGED, TAGS[1])
        assert staged.running == Place.FACTORY
        slot_frames.command(client, Command.ACTIVATE)
        trial = restart(client)
        assert (trial.running, trial.tries, trial.worked) == (Place.SLOT_0, 3, False)
        assert client.hello.pack_id == parse_pack(PACKS[1]).pack_id.hex()
        with pytest.raises(TargetError, match="has not scored eight events"):
            slot_frames.command(client, Command.CONFIRM)
        sample.replayed(client, PACKS[1], limit=50).check()
        confirmed = slot_frames.command(client, Command.CONFIRM)
        assert (confirmed.active, confirmed.phase, confirmed.floor) == (Place.SLOT_0, Phase.NONE, 2)
    with terminal.on() as (client, _):
        again = slot_frames.info(client)
        assert (again.active, again.journal, again.floor) == (Place.SLOT_0, Journal.FOUND, 2)
        with pytest.raises(TargetError, match="TFIN_E_ROLLBACK"):
            slot_frames.install(client, PACKS[0])
        assert slot_frames.install(client, PACKS[1]).phase == Phase.NONE, "it is active already"


def test_a_forged_or_foreign_pack_costs_no_operation(terminal: Terminal) -> None:
    forged = bytearray(PACKS[1])
    forged[200] ^= 1
    with terminal.on() as (client, _):
        before = terminal.kept.read_bytes()
        with pytest.raises(TargetError, match="TFIN_E_SIGNATURE"):
            slot_frames.install(client, bytes(forged))
        assert terminal.kept.read_bytes() == before


def test_a_damaged_body_is_found_and_may_come_again(terminal: Terminal) -> None:
    damaged = bytearray(PACKS[1])
    damaged[-1] ^= 1
    with terminal.on() as (client, _):
        with pytest.raises(TargetError, match="TFIN_E_DIGEST"):
            slot_frames.install(client, bytes(damaged))
        assert slot_frames.info(client).reason == Reason.DAMAGED
        assert slot_frames.install(client, PACKS[1]).phase == Phase.STAGED


def test_a_trial_that_never_works_ends_after_three_restarts(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        slot_frames.install(client, PACKS[1])
        slot_frames.command(client, Command.ACTIVATE)
        tries = [restart(client).tries for _ in range(3)]
        assert tries == [3, 2, 1]
        after = restart(client)
        assert (after.running, after.reason) == (Place.FACTORY, Reason.TRIES_USED_UP)
        with pytest.raises(TargetError, match="aborted or reverted here before"):
            slot_frames.install(client, PACKS[1])


@every_machine
def test_a_pulled_plug_costs_no_try(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        slot_frames.install(client, PACKS[1])
        slot_frames.command(client, Command.ACTIVATE)
        restart(client)
    for _ in range(5):
        with terminal.on() as (client, _):
            assert slot_frames.info(client).tries == 3


def test_scoring_goes_on_during_an_install_byte_for_byte(terminal: Terminal) -> None:
    """Frames of events between those of an install are answered as without one."""
    frames = [small_frame(first_id=1 + 10 * i, count=9) for i in range(30)]
    with terminal.on() as (client, _):
        alone = [client.ordered(Request.EVENTS, frame) for frame in frames]
    with terminal.on() as (client, _):
        left = list(frames)
        between: list[bytes] = []
        slot_frames.install(
            client, PACKS[1], lambda *_: between.append(client.ordered(Request.EVENTS, left.pop(0)))
        )
        assert len(between) > 5
        between += [client.ordered(Request.EVENTS, frame) for frame in left]
    assert between == alone


def test_an_install_stays_within_its_bytes_and_round_trips(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """The reference pack, on the terminal that runs it."""
    folder = tmp_path_factory.mktemp("reference")
    pack = (ROOT / "models" / "payment" / "model.tfpack").read_bytes()
    new = sign_with(parse_pack(pack), DEVELOPMENT_KEY, security_counter=1)
    (folder / "model.tfpack").write_bytes(pack)
    elf = build.build(catalogue.get("cortex-m4"), pack=folder / "model.tfpack").elf
    with Terminal(elf, tmp_path / "flash.bin").on() as (client, _):
        c = client.counters
        bytes_before, frames_before = c.bytes_up + c.bytes_down, c.frames_up
        assert slot_frames.install(client, new).phase == Phase.STAGED
        c = client.counters
        used, trips = c.bytes_up + c.bytes_down - bytes_before, c.frames_up - frames_before
    print(f"{len(new)} bytes of pack: {used} bytes on the line, {trips} round trips")
    assert used <= 1.15 * len(new) + 1024
    assert trips <= 50


@every_machine
def test_killed_at_any_moment_it_runs_a_signed_pack_afterwards(terminal: Terminal) -> None:
    rng = random.Random(int(os.environ.get("KILL_SEED", "1")))
    known = {parse_pack(pack).pack_id.hex() for pack in [sample.make_pack(), *PACKS]}
    sequence = floor = confirmed = 0
    for _ in range(KILLS):
        with terminal.on() as (client, emulator):
            slots = slot_frames.info(client)
            assert client.hello.open_error == 0
            assert client.hello.pack_id in known
            assert slots.sequence > sequence
            assert slots.floor >= floor
            sequence, floor = slots.sequence, slots.floor
            timer = threading.Timer(rng.uniform(0.0, 1.5), os.kill, (emulator.pid, signal.SIGKILL))
            timer.start()
            try:
                while timer.is_alive():
                    confirmed += one_action(client, rng)
            except (TargetError, OSError):
                pass
            finally:
                timer.join()
                until_ended(emulator)
    print(f"{KILLS} kills: {sequence} records, floor {floor}, {confirmed} confirmed")
    assert sequence > 2 * KILLS


def one_action(client: Client, rng: random.Random) -> int:
    phase = slot_frames.info(client).phase
    if phase == Phase.TRIAL:
        if slot_frames.info(client).running != slot_frames.info(client).other:
            restart(client)
        score_some(client)
        if rng.random() < 0.5:
            slot_frames.command(client, Command.CONFIRM)
            return 1
        slot_frames.command(client, Command.REVERT)
        restart(client)
    elif phase == Phase.STAGED:
        slot_frames.command(client, Command.ACTIVATE)
    else:
        client.ordered(Request.EVENTS, clock(86400 * next(DAYS)))  # only four installs a day begin
        with contextlib.suppress(TargetError):
            slot_frames.install(client, rng.choice(PACKS))
    return 0


def clock(t_s: int) -> bytes:
    """A frame of events that sets the clock."""
    return bytes([0, 1]) + t_s.to_bytes(4, "little") + b"\x82\x00"


def test_installs_of_a_day_count_by_the_clock_of_the_engine(terminal: Terminal) -> None:
    """A frame that was refused does not move it."""
    with terminal.on() as (client, _):
        refused = encode_frame(Request.EVENTS, client.hello.expected, clock(2**32 - 1)[:-2])
        assert raw_answer(client, refused)[0] == Answer.ERROR
        for pack in (PACKS[1], PACKS[2], PACKS[1], PACKS[2]):
            assert slot_frames.install(client, pack).phase == Phase.STAGED
        with pytest.raises(TargetError, match="four installs"):
            slot_frames.install(client, PACKS[0])
        client.ordered(Request.EVENTS, clock(86400))
        assert slot_frames.install(client, PACKS[0]).phase == Phase.STAGED


def test_the_floor_counts_from_confirmation_on(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        slot_frames.install(client, PACKS[1])
        slot_frames.command(client, Command.ACTIVATE)
        restart(client)
        score_some(client)
        slot_frames.command(client, Command.CONFIRM)
        with pytest.raises(TargetError, match="TFIN_E_ROLLBACK"):
            slot_frames.install(client, PACKS[0])


def test_the_verbs(tmp_path: Path) -> None:
    run, new = tmp_path / "run", tmp_path / "new.tfpack"
    run.mkdir()
    (run / "model.tfpack").write_bytes(sample.make_pack())
    new.write_bytes(PACKS[1])
    where = f"--target cortex-m4 --terminal {run}"
    tinyfin(f"install {new} --target cortex-m4", code=2)
    tinyfin("slots", code=2)
    assert "in trial, 3 tries left" in tinyfin(f"install {new} {where} --activate").stdout
    again = tinyfin(f"install {new} {where} --activate")
    assert "holds this pack already, and there is nothing to activate" in again.stderr
    facts = tinyfin_json(f"slots {where}")
    assert (facts["phase"], facts["running"], facts["worked"]) == ("trial", "slot_0", False)
    assert "given up" in tinyfin(f"slots {where} --revert").stdout
    assert tinyfin_json(f"slots {where}")["reason"] == "reverted"


def test_a_release_takes_packs_and_leaves_what_becomes_of_them_to_its_application(
    tmp_path: Path,
) -> None:
    key = generate_key()
    pack = tmp_path / "model.tfpack"
    pack.write_bytes(sample.make_pack(key=key))
    image = build.build("cortex-m4", pack=pack, keys=(key.public,), defines=("TFIN_RELEASE",)).elf
    with Terminal(image, tmp_path / "flash.bin").on() as (client, _):
        other = sign_with(parse_pack(sample.make_pack(3)), key)
        assert slot_frames.install(client, other).phase == Phase.STAGED
        for which in Command:
            with pytest.raises(TargetError, match="NOT_OFFERED"):
                slot_frames.command(client, which)
        assert not client.hello.capabilities & Capability.COMMAND, "it knows no root key"
        for request, answer in (
            (Request.CHALLENGE_REQUEST, Answer.CHALLENGE),
            *((Request(number), Answer.PACK_STATUS) for number in range(0x26, 0x2A)),
        ):
            with pytest.raises(TargetError, match="NOT_OFFERED"):
                client.request(request, answer, bytes(128))
        assert slot_frames.info(client).phase == Phase.STAGED


def test_a_terminal_without_slots_says_so(client: Client) -> None:
    with pytest.raises(TargetError, match="keeps no pack"):
        slot_frames.info(client)


def test_repeated_requests_do_nothing_twice(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        slot_frames.install(client, PACKS[1])
        before = slot_frames.info(client)
        for request, payload in (
            (Request.PACK_BEGIN, PACKS[1][:224]),
            (Request.PACK_END, PACKS[1][:224]),
            (Request.PACK_DATA, (224).to_bytes(4, "little") + PACKS[1][224:256]),
        ):
            client.request(request, Answer.PACK_STATUS, payload)
        assert slot_frames.info(client) == before
