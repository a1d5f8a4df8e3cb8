# SPDX-License-Identifier: Apache-2.0
"""Sealed packs and state images of an emulated terminal."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import sample
from tests.support import sealing_oracle as oracle
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.kept_terminal import Terminal, until_ended
from tests.support.native import BUILD
from tests.support.process import ROOT, needs_cortex_m
from tests.support.switched_off import switched_off
from tests.wire.test_terminal import raw_answer, small_frame
from tinyfin.codegen.emit import emit
from tinyfin.errors import MismatchError, TargetError
from tinyfin.field.keys import terminal_keys
from tinyfin.field.sealing import (
    Sealed,
    key_id,
    open_sealed,
    seal_pack,
    seal_state,
    terminal_sealing_key,
)
from tinyfin.hil.links import session
from tinyfin.pack.container import parse_pack, sign_with
from tinyfin.pack.key_files import save_secret, text_of
from tinyfin.pack.signing import DEVELOPMENT_KEY, generate_key, hash32
from tinyfin.targets import build, catalogue
from tinyfin.targets.image_size import _pieces, image_budget
from tinyfin.wire import field_frames, slot_frames
from tinyfin.wire.channel import NotOffered
from tinyfin.wire.client import Client
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.messages import Answer, Capability, Request
from tinyfin.wire.sealed_frames import read_sealed_state
from tinyfin.wire.slot_frames import Command, Phase, Reason, Result, Status, ask

pytestmark = [pytest.mark.live, needs_cortex_m]
NAME = "cortex-m4"
FLEET, ID = hash32(b"a fleet key"), bytes.fromhex("00000000000004d2")
OWN = terminal_sealing_key(FLEET, ID)
OTHER = hash32(b"a key that no terminal has")
OF_FLEET = [hash32(b"a sealing key of the fleet"), hash32(b"and the one after it")]
NEW = sign_with(parse_pack(sample.make_pack(3)), DEVELOPMENT_KEY, security_counter=2)
SOURCES = ROOT / "firmware" / "src"


def built(folder: Path, *defines: str, app: Path | None = None) -> build.BuildResult:
    pack = folder / "model.tfpack"
    pack.write_bytes(sample.make_pack())
    return build.build(catalogue.get(NAME), pack=pack, defines=defines, app=app)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("sealed"), "TFIN_SEALED").elf


@pytest.fixture
def terminal(image: Path, tmp_path: Path) -> Terminal:
    """A terminal with an id, and so with a sealing key of its own."""
    terminal = Terminal(image, tmp_path / "flash.bin")
    with terminal.on() as (client, _):
        field_frames.provision(client, ID, terminal_keys(FLEET, ID))
    return terminal


def begin(client: Client, sealed: Sealed) -> Status:
    header = sealed.content[:224] + sealed.announced
    return ask(client, slot_frames.info(client), Request.PACK_BEGIN, header, len(sealed.content))


def data(client: Client, at: int, piece: bytes) -> Status:
    payload = at.to_bytes(4, "little") + piece
    return ask(client, slot_frames.info(client), Request.PACK_DATA, payload)


def end(client: Client, sealed: Sealed) -> Status:
    return ask(client, slot_frames.info(client), Request.PACK_END, sealed.content[:224])


def test_a_sealed_pack_is_installed_with_a_cut_in_the_middle_and_runs(terminal: Terminal) -> None:
    """Each way takes another sealing; what the line carries shows nothing of the pack."""
    sealed = seal_pack(NEW, OWN)
    assert oracle.opened(sealed.encode(), OWN) == (oracle.PACK, NEW)
    with terminal.on() as (client, emulator):

        def pull_the_plug(at: int, of: int) -> None:
            if at > of // 2:
                os.kill(emulator.pid, signal.SIGKILL)
                until_ended(emulator)

        with pytest.raises((TargetError, OSError)):
            slot_frames.install(client, sealed, pull_the_plug)
    resumed: list[int] = []
    with terminal.on() as (client, _):
        assert slot_frames.info(client).phase == Phase.LOADING
        staged = slot_frames.install(client, seal_pack(NEW, OWN), lambda at, of: resumed.append(at))
        assert staged.phase == Phase.STAGED
        slot_frames.command(client, Command.ACTIVATE)
        client.reboot()
        client.connect()
        assert client.hello.pack_id == parse_pack(NEW).pack_id.hex()
        sample.replayed(client, NEW, limit=50).check()
    assert NEW in terminal.kept.read_bytes(), "it lies in flash as it is"


def test_a_load_goes_on_at_every_offset_with_any_sealing(terminal: Terminal) -> None:
    """Each piece comes from a sealing of its own; the third one from the plain pack."""
    rng = random.Random(3)
    with terminal.on() as (client, _):
        at, pieces = 224, 0
        while at < len(NEW):
            sealed = seal_pack(NEW, OWN)
            if (pieces := pieces + 1) == 3:
                sealed = replace(sealed, content=NEW, key_id=b"", nonce=b"")
            status = begin(client, sealed)
            assert (status.result, status.next) == (Result.OK, at)
            size = 32 * rng.randrange(1, 24)
            status = data(client, at, sealed.content[at : at + size])
            assert status.result == Result.OK
            at += size
        assert end(client, sealed).result == Result.OK
        assert slot_frames.info(client).phase == Phase.STAGED


def test_another_key_is_named_and_costs_no_operation(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        before = terminal.kept.read_bytes()
        with pytest.raises(TargetError, match=f"no sealing key {key_id(OTHER).hex()}"):
            slot_frames.install(client, seal_pack(NEW, OTHER))
        with pytest.raises(TargetError, match=f"no sealing key {key_id(OTHER).hex()}"):
            read_sealed_state(client, key_id(OTHER))
        assert terminal.kept.read_bytes() == before


def flipped(sealed: Sealed, bit: int) -> Sealed:
    """With one bit of the content changed, or of the nonce behind it."""
    changed = bytearray(sealed.content + sealed.nonce)
    changed[bit // 8] ^= 1 << bit % 8
    size = len(sealed.content)
    return replace(sealed, content=bytes(changed[:size]), nonce=bytes(changed[size:]))


def test_a_changed_pack_never_runs(terminal: Terminal) -> None:
    """A change of the header or of the nonce is found before anything is erased, one behind it when
    the pack is whole."""
    rng = random.Random(4)
    sealed = seal_pack(NEW, OWN)
    size = len(sealed.content)
    with terminal.on() as (client, _):
        before = terminal.kept.read_bytes()
        signed = [*rng.sample(range(8 * 224), 6), *(8 * size + 8 * i for i in (0, 15, 23))]
        for bit in signed:
            status = begin(client, flipped(sealed, bit))
            assert status.result not in (Result.OK, Result.BUSY), bit
        assert terminal.kept.read_bytes() == before
        for bit in rng.sample(range(8 * 224, 8 * size), 2):
            with pytest.raises(TargetError, match="TFIN_E_DIGEST"):
                slot_frames.install(client, flipped(sealed, bit))
            assert slot_frames.info(client).reason == Reason.DAMAGED
        assert slot_frames.install(client, sealed).phase == Phase.STAGED, "it may come again"


def spoiled(client: Client) -> bool:
    """Whether a PACK_BEGIN that is refused changes what becomes of the load that is under way."""
    one, other = seal_pack(NEW, OWN), seal_pack(NEW, OWN)
    at = begin(client, one).next
    assert data(client, at, one.content[at : at + 64]).result == Result.OK
    assert begin(client, flipped(other, 8 * 200)).result == Result.ENGINE
    data(client, at + 64, one.content[at + 64 : at + 128])
    try:
        return slot_frames.install(client, one).phase != Phase.STAGED
    except TargetError:
        return True


def test_a_refused_begin_does_not_spoil_the_load(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        assert not spoiled(client)
        assert slot_frames.info(client).phase == Phase.STAGED


def test_where_the_terminal_forgets_that_a_begin_was_refused_this_is_noticed(
    tmp_path: Path,
) -> None:
    app = BUILD / "forgets_refused_begin"  # a place that stays, so that objects are used again
    shutil.rmtree(app, ignore_errors=True)
    shutil.copytree(SOURCES, app)
    rule = "t->unknown = t->slots.result != TFIN_SLOTS_OK;"
    slots = switched_off(SOURCES / "slots", "transfer.c", rule, "t->unknown = 0;", tmp_path)
    shutil.copytree(slots, app / "slots", dirs_exist_ok=True)
    terminal = Terminal(built(tmp_path, "TFIN_SEALED", app=app).elf, tmp_path / "flash.bin")
    with terminal.on() as (client, _):
        field_frames.provision(client, ID, terminal_keys(FLEET, ID))
        assert spoiled(client)


PORT_KEYS = """
#include <string.h>
#include "port.h"
int tfin_port_seal_key(uint32_t number, uint8_t key[32])
{
    static const uint8_t keys[2][32] = {{%s}, {%s}};
    if (number >= 2) {
        return 0;
    }
    memcpy(key, keys[number], 32);
    return 1;
}
"""


def test_keys_of_the_port_open_one_file_on_every_terminal(tmp_path: Path) -> None:
    """The key of a fleet, and the one that replaces it; the terminal has no id."""
    rows = tuple(", ".join(map(str, key)) for key in OF_FLEET)
    emit(sample.make_pack(), tmp_path / "c")
    (tmp_path / "c" / "port_keys.c").write_text(PORT_KEYS % rows)
    defines = ("TFIN_SEALED", "TFIN_SEALED_ONLY")
    image = build.build(NAME, generated_dir=tmp_path / "c", defines=defines).elf
    with Terminal(image, tmp_path / "flash.bin").on() as (client, _):
        with pytest.raises(TargetError, match="no sealing key"):
            slot_frames.install(client, seal_pack(NEW, OWN))
        with pytest.raises(TargetError, match="takes no pack that is not sealed"):
            slot_frames.install(client, NEW)
        for key in OF_FLEET:
            state = read_sealed_state(client, key_id(key))
            assert oracle.opened(state.encode(), key)[0] == oracle.STATE
        with pytest.raises(NotOffered):
            client.read_state()
        assert slot_frames.install(client, seal_pack(NEW, OF_FLEET[1])).phase == Phase.STAGED


def test_a_terminal_seals_its_state_as_the_host_does(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        cold, plain = read_sealed_state(client, key_id(OWN)), client.read_state()
        assert cold == seal_state(plain, OWN)
        assert open_sealed(cold, OWN, "x") == plain
        client.ordered(Request.EVENTS, small_frame(first_id=1, count=9))
        warm, plain = read_sealed_state(client, key_id(OWN)), client.read_state()
        assert warm == seal_state(plain, OWN)
        assert warm.nonce != cold.nonce


def test_a_state_that_changes_while_it_is_read_is_read_again(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never is a piece of one state taken for that of another, nor sealed by its stream."""
    with terminal.on() as (client, _):
        answered = client.request
        seen: dict[tuple[bytes, bytes], bytes] = {}
        changes = 3

        def between(request: int, answer: int, payload: bytes = b"", **more: float) -> bytes:
            nonlocal changes
            piece = answered(request, answer, payload, **more)
            if len(payload) == 14:
                assert seen.setdefault((payload, piece[4:28]), piece) == piece
            if len(payload) == 14 and changes > 0:
                changes -= 1
                client.ordered(Request.EVENTS, small_frame(first_id=100 * changes, count=3))
            return piece

        monkeypatch.setattr(client, "request", between)
        sealed = read_sealed_state(client, key_id(OWN))
        assert open_sealed(sealed, OWN, "x") == client.read_state()
        assert len({nonce for _, nonce in seen}) == 4
        changes = 1000
        with pytest.raises(MismatchError, match="changed while it was read"):
            read_sealed_state(client, key_id(OWN))


def test_a_release_gives_its_state_sealed_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = generate_key()
    pack = tmp_path / "model.tfpack"
    pack.write_bytes(sample.make_pack(key=key))
    defines = ("TFIN_RELEASE", "TFIN_SEALED")
    root = generate_key().public
    image = build.build(NAME, pack=pack, keys=(key.public,), root_key=root, defines=defines).elf
    with Terminal(image, tmp_path / "flash.bin").on() as (client, _):
        field_frames.provision(client, ID, terminal_keys(FLEET, ID))
        with pytest.raises(NotOffered):
            client.read_state()
        with pytest.raises(NotOffered):
            client.write_state(bytes(client.hello.state_bytes))

        @contextlib.contextmanager
        def here(url: str, *, baud: int = 115200) -> Iterator[session.Session]:
            yield session.Session(client, url)

        monkeypatch.setattr(session, "at_port", here)
        save_secret("own.key", text_of(OWN, "seal"))
        told = tinyfin("state read --port here --out plain.state", code=5).stderr
        assert "gives its state sealed alone" in told
        for words in ("--seal-key own.key", f"--seal-id {key_id(OWN).hex()}"):
            tinyfin(f"state read --port here {words} --out a.tfsealed")
            kind, opened = oracle.opened(Path("a.tfsealed").read_bytes(), OWN)
            assert (kind, opened[:4]) == (oracle.STATE, b"TFST")
            assert len(opened) == client.hello.state_bytes
        new = sign_with(parse_pack(sample.make_pack(3)), key, security_counter=2)
        assert slot_frames.install(client, seal_pack(new, OWN)).phase == Phase.STAGED


def of_sealing(result: build.BuildResult) -> set[str]:
    """What is linked of seal.c, and of a cipher."""
    pieces = {(Path(origin).name, name) for name, _, origin in _pieces(result.map_path)}
    return {name for origin, name in pieces if "seal" in origin or "stream" in name} | {
        one.name for one in build.symbols(result) if "chacha" in one.name
    }


def test_without_sealing_a_terminal_refuses_by_name_and_grows_by_no_byte(tmp_path: Path) -> None:
    plain = built(tmp_path)
    assert not of_sealing(plain)
    assert len(of_sealing(built(tmp_path, "TFIN_SEALED"))) > 5, "they would be seen"
    with Terminal(plain.elf, tmp_path / "flash.bin").on() as (client, _):
        assert not client.hello.capabilities & Capability.SEAL
        sealed = seal_pack(NEW, OWN)
        with pytest.raises(TargetError, match="knows no sealing"):
            slot_frames.install(client, sealed)
        asked = encode_frame(Request.PACK_BEGIN, 1, sealed.content[:224] + sealed.announced)
        kind, _, payload = raw_answer(client, asked)
        assert (kind, payload[0]) == (Answer.ERROR, 5), "MALFORMED"


def test_the_budget_shows_what_sealing_costs(tmp_path: Path) -> None:
    pack = tmp_path / "model.tfpack"
    plain, sealed = built(tmp_path), built(tmp_path, "TFIN_SEALED")
    words = f"budget {pack} --no-measure --target {NAME} --target bluepill"
    row, none = tinyfin_json(f"{words} --sealed")["targets"]
    assert row["sealing"]["flash_bytes"] == sealed.flash_bytes - plain.flash_bytes > 0
    assert row["sealing"]["ram_bytes"] == sealed.ram_bytes - plain.ram_bytes > 0
    assert row["flash"]["total"] == image_budget(sealed, pack).flash_bytes
    assert none["sealing"] is None
    assert f"{NAME}: sealing adds" in tinyfin(f"{words} --sealed").stdout
    assert {row["sealing"] for row in tinyfin_json(words)["targets"]} == {None}


def test_the_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("run")
    run.mkdir()
    (run / "model.tfpack").write_bytes(sample.make_pack())
    Path("new.tfpack").write_bytes(NEW)
    where = f"--target {NAME} --terminal run"
    tinyfin("keygen fleet.key --kind fleet")
    made = f"--fleet-key fleet.key --terminal {ID.hex()}"
    own = tinyfin_json(f"keygen own.key --kind seal {made}")["key_id"]
    tinyfin("seal new.tfpack --seal-key own.key --out new.tfsealed")
    assert (
        "keeps no pack in flash" in tinyfin("build run --target bluepill --sealed", code=3).stderr
    )
    tinyfin(f"flash run --target {NAME} --sealed")
    assert f"no sealing key {own}" in tinyfin(f"install new.tfsealed {where}", code=5).stderr
    tinyfin(f"provision {ID.hex()} --fleet-key fleet.key {where}")
    assert "in trial" in tinyfin(f"install new.tfsealed {where} --activate").stdout
    assert tinyfin_json(f"slots {where}")["other_tag"] == parse_pack(NEW).pack_id.hex()[:8]
