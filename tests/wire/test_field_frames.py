# SPDX-License-Identifier: Apache-2.0
"""Keys, commands and notices from the host's side; the terminal is a model of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from tests.support import field_oracle as oracle
from tests.support.modelled_terminal import REASONS, Modelled
from tinyfin.errors import InputError, TargetError
from tinyfin.field.commands import Command, Opcode, sign_command
from tinyfin.field.keys import KeyManifest, sign_manifest, terminal_keys
from tinyfin.field.notices import Notice, Page, make_pages, sign_page
from tinyfin.pack.signing import hash32, key_from_seed
from tinyfin.wire import field_frames
from tinyfin.wire.client import Client
from tinyfin.wire.messages import Capability, Request
from tinyfin.wire.slot_frames import Reason, Result

NAMES = (b"root", b"release", b"command", b"stranger")
ROOT, RELEASE, KEY, STRANGER = (key_from_seed(hash32(name)) for name in NAMES)
ID = bytes(range(1, 9))
FLEET = hash32(b"fleet")
PACK = hash32(b"pack")[:16]


def pages(*numbers: int) -> list[tuple[Page, bytes]]:
    made = [Page(n, ID, (Notice(n, 5, True),)) for n in numbers]
    return [(page, sign_page(page, ROOT)) for page in made]


def terminal(**fields: Any) -> oracle.Terminal:
    keys = terminal_keys(FLEET, ID)
    given = {"id": ID, "report_key": keys.report, "audit_key": keys.audit, **fields}
    return oracle.Terminal(ROOT.public, **given)


def client_of(modelled: Modelled) -> Client:
    return cast("Client", modelled)


READY = {
    Opcode.ACTIVATE: {"phase": oracle.STAGED},
    Opcode.CONFIRM: {"phase": oracle.TRIAL, "alive": True},
    Opcode.REVERT: {"phase": oracle.TRIAL},
    Opcode.ABORT: {"phase": oracle.STAGED},
    Opcode.TRY: {"phase": oracle.SHADOW},
    Opcode.RAISE_FLOOR: {"running_counter": 3},
}
VALUES = {Opcode.RAISE_FLOOR: 3, Opcode.ERASE_CARD: 9, Opcode.SET_TIME: 86400}


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "lost"])
@pytest.mark.parametrize("opcode", list(Opcode), ids=lambda x: x.words)
def test_a_command_is_done_also_when_its_answer_was_lost(opcode: Opcode, lost: bool) -> None:
    t = terminal(other=PACK, **READY.get(opcode, {}))
    m = Modelled(t, *[Request.COMMAND] * lost)
    pack = PACK if opcode in oracle.OF_PACK else bytes(16)
    value = VALUES.get(opcode, 0)
    slots = field_frames.command(client_of(m), opcode, ROOT, pack=pack, value=value)
    again = opcode in (Opcode.ERASE_CARD, Opcode.SET_TIME, Opcode.STAGE, Opcode.ERASE_STATE)
    assert t.obeyed == [(opcode, pack, value)] * (1 + (lost and again))
    assert slots.sequence == t.sequence
    assert m.hello.boot_nonce == t.boot_nonce
    if opcode in REASONS:
        assert slots.reason == Reason(REASONS[opcode])


def test_a_nonce_that_something_else_made_void_is_asked_for_anew() -> None:
    t = terminal()
    m = Modelled(t)
    challenge, left = t.challenge, [1, 1]

    def hurried() -> bytes:
        said = challenge()
        if left:
            left.pop()
            t.changed()
        return said

    t.challenge = hurried  # type: ignore[method-assign]
    field_frames.command(client_of(m), Opcode.ERASE_STATE, ROOT)
    assert t.obeyed == [(Opcode.ERASE_STATE, bytes(16), 0)]
    left.extend([1] * 9)
    with pytest.raises(TargetError, match="made before something else was done"):
        field_frames.command(client_of(m), Opcode.ERASE_STATE, ROOT)


@pytest.mark.parametrize(
    ("t", "said"),
    [
        (terminal(id=bytes(8)), "it has no id yet"),
        (terminal(phase=oracle.TRIAL, other=PACK), "cannot do that now"),
        (terminal(phase=oracle.STAGED, other=ID * 2), "holds another pack"),
    ],
)
def test_a_refused_command_says_why(t: oracle.Terminal, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        field_frames.command(client_of(Modelled(t)), Opcode.ACTIVATE, ROOT, pack=PACK)
    assert not t.obeyed


def test_a_key_that_the_terminal_does_not_know() -> None:
    manifest = sign_manifest(KeyManifest(1, (RELEASE.public,), (KEY.public,)), ROOT)
    m = Modelled(terminal(manifest=manifest))
    for index, said in ((0, "signature is not that"), (1, "no command key of this number")):
        with pytest.raises(TargetError, match=said):
            field_frames.command(client_of(m), Opcode.REBOOT, ROOT, key_index=index)
    field_frames.command(client_of(m), Opcode.REBOOT, KEY)


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "lost"])
def test_a_broadcast_is_done_once(lost: bool) -> None:
    t = terminal(running_counter=3)
    m = Modelled(t, *[Request.COMMAND] * lost)
    command = Command(Opcode.RAISE_FLOOR, counter=5, value=2)
    data = sign_command(command, ROOT)
    assert field_frames.broadcast(client_of(m), command, data).floor == 2
    field_frames.broadcast(client_of(m), command, data)
    assert len(t.obeyed) == 1
    old = replace(command, counter=4)
    with pytest.raises(TargetError, match="with a higher number"):
        field_frames.broadcast(client_of(m), old, sign_command(old, ROOT))


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "lost"])
def test_a_key_manifest_is_installed(lost: bool) -> None:
    t = terminal()
    m = Modelled(t, *[Request.KEYS] * lost)
    manifest = sign_manifest(KeyManifest(3, (RELEASE.public,), (KEY.public,)), ROOT)
    assert field_frames.install_keys(client_of(m), manifest).keys_version == 3
    older = sign_manifest(KeyManifest(2, (RELEASE.public,), (KEY.public,)), ROOT)
    with pytest.raises(TargetError, match="newer key manifest"):
        field_frames.install_keys(client_of(m), older)
    with pytest.raises(InputError, match="is no key manifest"):
        field_frames.install_keys(client_of(m), b"")
    forged = sign_manifest(KeyManifest(4, (RELEASE.public,), (KEY.public,)), STRANGER)
    with pytest.raises(TargetError, match="with the root key of its firmware"):
        field_frames.install_keys(client_of(m), forged)


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "lost"])
def test_a_terminal_is_provisioned_once(lost: bool) -> None:
    t = oracle.Terminal(ROOT.public)
    m = client_of(Modelled(t, *[Request.PROVISION] * lost))
    keys = terminal_keys(FLEET, ID)
    for _ in range(2):
        assert field_frames.provision(m, ID, keys).terminal == ID
    assert t == terminal(sequence=2)
    with pytest.raises(TargetError, match=r"it is terminal 0102030405060708 already$"):
        field_frames.provision(m, ID[::-1], terminal_keys(FLEET, ID[::-1]))
    with pytest.raises(TargetError, match="secrets of another fleet key"):
        field_frames.provision(m, ID, terminal_keys(hash32(b"other"), ID))


def test_notices_go_on_behind_what_the_terminal_has() -> None:
    t = terminal()
    m = Modelled(t, Request.NOTICES, Request.NOTICES)
    shown: list[tuple[int, int]] = []
    field_frames.send_notices(client_of(m), pages(1, 2, 3), lambda *at: shown.append(at))
    assert [x[0] for x in t.noticed] == [1, 2, 3]
    assert shown == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert field_frames.send_notices(client_of(m), pages(2, 3, 4)).notices == 4
    assert [x[0] for x in t.noticed] == [1, 2, 3, 4]
    assert field_frames.send_notices(client_of(m), pages(1, 2)).notices == 4
    with pytest.raises(InputError, match="up to 4; these begin with 6"):
        field_frames.send_notices(client_of(m), pages(6, 7))
    (page,) = make_pages([Notice(1, 2, True)], ID[::-1], 5)
    with pytest.raises(InputError, match="is terminal 0102030405060708; these notices are for"):
        field_frames.send_notices(client_of(m), [(page, sign_page(page, ROOT))])
    assert m.asked.count(Request.NOTICES) == 4 + 2


def test_firmware_without_commands() -> None:
    m = Modelled(terminal())
    m.hello.capabilities = Capability.INSTALL
    with pytest.raises(TargetError, match="takes no signed commands"):
        field_frames.challenge(client_of(m))


def test_result_codes_are_the_formats() -> None:
    names = ("KEY", "SIGNATURE", "NONCE", "COUNTER", "TERMINAL", "IDENTITY", "PACK", "VALUE")
    for name in (*names, "VERSION", "PHASE", "NOT_ALIVE"):
        assert Result[name] == getattr(oracle, name)
