# SPDX-License-Identifier: Apache-2.0
"""Commands, notices and keys on an emulated terminal: what it answers is what the model answers."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support import field_oracle as oracle
from tests.support import sample
from tests.support.kept_terminal import Terminal
from tests.support.process import needs_cortex_m
from tests.wire.test_install import PACKS, restart, score_some, signed
from tinyfin.errors import ProtocolError, TargetError
from tinyfin.field import commands, keys, notices
from tinyfin.pack.container import parse_pack, sign_with
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, generate_key
from tinyfin.targets import build, catalogue
from tinyfin.wire import field_frames, slot_frames
from tinyfin.wire.client import Client
from tinyfin.wire.messages import Request
from tinyfin.wire.slot_frames import Phase

pytestmark = [pytest.mark.live, needs_cortex_m]

TERMINAL = bytes.fromhex("00000000000004d2")
FLEET = bytes(range(32))
IDS = [bytes.fromhex(parse_pack(pack).pack_id.hex()) for pack in PACKS]
ROOT = DEVELOPMENT_KEY
RELEASE, FIRST, SECOND, STRANGER = (generate_key() for _ in range(4))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pack = tmp_path_factory.mktemp("factory") / "model.tfpack"
    pack.write_bytes(signed(1, 1))
    return build.build(catalogue.get("cortex-m4"), pack=pack).elf


@pytest.fixture
def terminal(image: Path, tmp_path: Path) -> Terminal:
    return Terminal(image, tmp_path / "flash.bin")


class Both:
    """A terminal and its model; both take the same bytes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.model = oracle.Terminal(ROOT.public, running_counter=1)
        self.look()

    def look(self) -> None:
        """Takes over what the model does not have: the numbers of records, and the phase."""
        now = slot_frames.info(self.client)
        self.model.sequence = now.sequence
        self.model.boot_nonce = self.client.hello.boot_nonce
        self.model.running_counter = now.counter
        self.model.trial_runs = now.running != now.active
        self.model.phase = now.phase
        self.model.floor = now.floor
        self.model.alive = now.worked
        self.other = bytes.fromhex(now.other_tag)
        if self.model.other[:4] != self.other:
            self.model.other = next((i for i in IDS if i[:4] == self.other), bytes(16))

    def take(self, request: Request, payload: bytes) -> int:
        takes = {
            Request.COMMAND: self.model.take_command,
            Request.KEYS: self.model.take_keys,
            Request.PROVISION: self.model.take_provision,
            Request.NOTICES: self.model.take_notices,
        }
        wanted = takes[request](payload)
        try:
            status = slot_frames.ask(
                self.client, slot_frames.info(self.client), request, payload
            ).result
        except ProtocolError as error:
            status = oracle.MALFORMED if "MALFORMED" in str(error) else None
        assert status == wanted, (request, payload.hex())
        self.look()
        assert field_frames.challenge(self.client) == self.challenge()
        return wanted

    def challenge(self) -> field_frames.Challenge:
        data = self.model.challenge()
        return field_frames.Challenge(data[1:9], data[9:25], *struct.unpack("<IHH", data[25:]))


def command(both: Both, opcode: int, signer: Key = ROOT, **fields: Any) -> bytes:
    """A command to this terminal, for now."""
    made = {"terminal": TERMINAL, "nonce": both.model.nonce(), **fields}
    return commands.sign_command(commands.Command(commands.Opcode(opcode), **made), signer)


def broadcast(opcode: int, counter: int, signer: Key = ROOT, **fields: Any) -> bytes:
    return commands.sign_command(
        commands.Command(commands.Opcode(opcode), counter=counter, **fields), signer
    )


def signed_keys(version: int, root: Key, *command: Key) -> bytes:
    made = keys.KeyManifest(version, (RELEASE.public,), tuple(key.public for key in command))
    return keys.sign_manifest(made, root)


def provisioned(client: Client) -> Both:
    both = Both(client)
    secrets = keys.terminal_keys(FLEET, TERMINAL)
    payload = TERMINAL + secrets.report + secrets.audit
    assert both.take(Request.PROVISION, payload) == oracle.OK
    assert both.take(Request.PROVISION, payload) == oracle.IDENTITY
    return both


def test_a_pack_is_installed_by_commands_alone(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        both = provisioned(client)
        slot_frames.install(client, PACKS[1])
        both.look()
        assert (
            both.take(Request.COMMAND, command(both, oracle.ACTIVATE, pack=IDS[2])) == oracle.PACK
        )
        activate = command(both, oracle.ACTIVATE, pack=IDS[1])
        assert both.take(Request.COMMAND, activate) == oracle.OK
        assert both.take(Request.COMMAND, activate) == oracle.NONCE
        restart(client)
        both.look()
        confirm = command(both, oracle.CONFIRM, pack=IDS[1])
        assert both.take(Request.COMMAND, confirm) == oracle.NOT_ALIVE
        sample.replayed(client, PACKS[1], limit=50).check()
        both.look()
        assert both.take(Request.COMMAND, confirm) == oracle.NONCE, "the record that it works"
        assert both.take(Request.COMMAND, command(both, oracle.CONFIRM, pack=IDS[1])) == oracle.OK
        assert slot_frames.info(client).floor == 2


def test_keys_are_rotated_and_revoked(terminal: Terminal) -> None:
    with terminal.on() as (client, _):
        both = provisioned(client)
        manifest = signed_keys(2, ROOT, FIRST, SECOND)
        forged = signed_keys(3, STRANGER, FIRST)
        assert both.take(Request.KEYS, forged) == oracle.KEY, "it names another root key"
        forged = manifest[:-1] + bytes([manifest[-1] ^ 1])
        assert both.take(Request.KEYS, forged) == oracle.SIGNATURE
        assert both.take(Request.COMMAND, broadcast(oracle.RAISE_FLOOR, 1, value=1)) == oracle.OK
        assert both.take(Request.KEYS, manifest) == oracle.OK
        assert both.take(Request.KEYS, manifest) == oracle.OK, "it is there already"
        by_root = broadcast(oracle.RAISE_FLOOR, 2, value=1)
        assert both.take(Request.COMMAND, by_root) == oracle.SIGNATURE, "it commands no more"
        by_second = broadcast(oracle.RAISE_FLOOR, 2, SECOND, key_index=1, value=1)
        assert both.take(Request.COMMAND, by_second) == oracle.OK
        with pytest.raises(TargetError, match="TFIN_E_KEY"):
            slot_frames.install(client, sign_with(parse_pack(PACKS[1]), STRANGER))
        slot_frames.install(client, sign_with(parse_pack(PACKS[1]), RELEASE))
        both.look()
        assert both.take(Request.KEYS, signed_keys(1, ROOT, FIRST)) == oracle.VERSION
        assert both.take(Request.KEYS, signed_keys(3, ROOT, FIRST)) == oracle.OK
        by_second = broadcast(oracle.RAISE_FLOOR, 3, SECOND, key_index=1, value=1)
        assert both.take(Request.COMMAND, by_second) == oracle.KEY
    with terminal.on() as (client, _):
        now = field_frames.challenge(client)
        assert (now.keys_version, now.commands, now.terminal) == (3, 2, TERMINAL)


def test_everything_at_random_is_answered_as_by_the_model(terminal: Terminal) -> None:
    """Old, forged, foreign, reordered and flipped ones between those that are right."""
    chance = random.Random(int.from_bytes(b"seed", "little"))
    with terminal.on() as (client, _):
        both = provisioned(client)
        score_some(client)
        slot_frames.install(client, PACKS[1])
        both.look()
        old: list[tuple[Request, bytes]] = []
        seen: set[int] = set()
        number = counter = 0
        for _ in range(120):
            what = chance.random()
            if what < 0.25 and old:
                request, payload = chance.choice(old)
            elif what < 0.5:
                counter += chance.choice((0, 1, 3))
                opcode = chance.choice(oracle.TO_ALL)
                fields = (
                    {"value": chance.choice((1, 2, 9))}
                    if opcode == oracle.RAISE_FLOOR
                    else {"pack": chance.choice(IDS)}
                )
                signer = chance.choice((ROOT, ROOT, ROOT, STRANGER))
                request = Request.COMMAND
                payload = broadcast(opcode, counter + 1, signer, **fields)
            elif what < 0.75:
                opcode = chance.choice(
                    (oracle.ERASE_CARD, oracle.ABORT, oracle.STAGE, oracle.REVERT, oracle.SET_TIME)
                )
                fields = (
                    {"pack": chance.choice(IDS)}
                    if opcode in oracle.OF_PACK
                    else {"value": chance.choice((5, 86400 * 3, 86400 * 9))}
                )
                if chance.random() < 0.2:
                    fields["terminal"] = bytes(7) + b"\x09"
                request, payload = Request.COMMAND, command(both, opcode, **fields)
            else:
                number += chance.choice((0, 1, 2))
                page = notices.Page(
                    number + 1,
                    chance.choice((TERMINAL, TERMINAL, bytes(7) + b"\x09")),
                    tuple(notices.Notice(chance.randrange(99), 5, True) for _ in range(8)),
                )
                request, payload = Request.NOTICES, notices.sign_page(page, ROOT)
            if chance.random() < 0.25:
                flipped = bytearray(payload)
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
                payload = bytes(flipped)
            old.append((request, payload))
            seen.add(both.take(request, payload))
            if chance.random() < 0.05:
                restart(client)
                both.look()
            if both.model.phase == Phase.NONE and chance.random() < 0.3:
                score_some(client)
        assert {oracle.OK, oracle.MALFORMED, oracle.SIGNATURE, oracle.NONCE} <= seen
        assert {oracle.COUNTER, oracle.TERMINAL, oracle.PACK} <= seen
