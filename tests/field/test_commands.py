# SPDX-License-Identifier: Apache-2.0
"""Commands: made, read, judged by a model of the terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import field_oracle as oracle
from tinyfin.errors import InputError
from tinyfin.field.commands import (
    BROADCAST,
    PACK_OPCODES,
    VALUE_OPCODES,
    Command,
    Opcode,
    nonce_of,
    parse_command,
    sign_command,
    verified_command,
)
from tinyfin.field.keys import KeyManifest, sign_manifest
from tinyfin.pack.signing import hash32, key_from_seed

ROOT, RELEASE, ONE, TWO = (key_from_seed(hash32(x)) for x in (b"root", b"r", b"1", b"2"))
ID = bytes(range(1, 9))
PACK = hash32(b"pack")[:16]
VALUE = {Opcode.RAISE_FLOOR: 3, Opcode.ERASE_CARD: 2**64 - 1, Opcode.SET_TIME: 86400 * 10}
READY = {
    Opcode.ACTIVATE: oracle.STAGED,
    Opcode.CONFIRM: oracle.TRIAL,
    Opcode.REVERT: oracle.TRIAL,
    Opcode.ABORT: oracle.LOADING,
    Opcode.TRY: oracle.SHADOW,
}
OPCODES = pytest.mark.parametrize("opcode", list(Opcode), ids=lambda x: x.words)


def terminal(opcode: Opcode = Opcode.REBOOT) -> oracle.Terminal:
    """A terminal that can do what the opcode says; its manifest has two command keys."""
    keys = KeyManifest(2, (RELEASE.public,), (ONE.public, TWO.public))
    return oracle.Terminal(
        ROOT.public,
        ID,
        hash32(b"report"),
        manifest=sign_manifest(keys, ROOT),
        commands=7,
        day=10,
        running_counter=3,
        phase=READY.get(opcode, oracle.PHASE_NONE),
        other=PACK,
        alive=True,
    )


def single(opcode: Opcode, to: oracle.Terminal, key_index: int = 0) -> Command:
    pack = PACK if opcode in PACK_OPCODES else bytes(16)
    return Command(opcode, key_index, ID, to.nonce(), pack=pack, value=VALUE.get(opcode, 0))


def to_all(opcode: Opcode, counter: int = 8, key_index: int = 0) -> Command:
    pack = PACK if opcode in PACK_OPCODES else bytes(16)
    return Command(opcode, key_index, counter=counter, pack=pack, value=VALUE.get(opcode, 0))


@st.composite
def commands(draw: st.DrawFn) -> Command:
    opcode = draw(st.sampled_from(Opcode))
    sixteen = st.binary(min_size=16, max_size=16).filter(any)
    bits = VALUE_OPCODES.get(opcode, ("", 0))[1]
    all_ = opcode in BROADCAST and draw(st.booleans())
    return Command(
        opcode,
        draw(st.integers(0, 1)),
        bytes(8) if all_ else draw(st.binary(min_size=8, max_size=8).filter(any)),
        bytes(16) if all_ else draw(sixteen),
        draw(st.integers(1, 2**32 - 1)) if all_ else 0,
        draw(sixteen) if opcode in PACK_OPCODES else bytes(16),
        draw(st.integers(1, 2**bits - 1)) if bits else 0,
    )


@given(commands())
def test_a_command_comes_back(command: Command) -> None:
    data = sign_command(command, ONE)
    assert len(data) == 128
    assert parse_command(data) == command
    keys = [ONE.public, TWO.public][:: -1 if command.key_index else 1]
    assert verified_command(data, keys) == command
    with pytest.raises(InputError, match="signature is not that"):
        verified_command(data, keys[::-1])


@given(st.binary(max_size=200) | st.binary(min_size=124, max_size=124).map(lambda x: b"TFCM" + x))
def test_whatever_bytes_come_only_an_input_error_goes(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^x: "):
        verified_command(data, [ONE.public], "x")


@OPCODES
def test_a_terminal_does_a_command_once(opcode: Opcode) -> None:
    t = terminal(opcode)
    command = single(opcode, t, key_index=1)
    data = sign_command(command, TWO)
    assert t.take_command(data) == oracle.OK
    assert t.obeyed == [(opcode, command.pack, command.value)]
    t.phase = READY.get(opcode, t.phase)
    assert t.take_command(data) == oracle.NONCE
    assert len(t.obeyed) == 1


@OPCODES
def test_every_single_bit_of_a_command_counts(opcode: Opcode) -> None:
    made = [sign_command(single(opcode, terminal(opcode)), ONE)]
    if opcode in BROADCAST:
        made.append(sign_command(to_all(opcode), ONE))
    for data in made:
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(InputError, match=r"^x: "):
                verified_command(bytes(flipped), [ONE.public, TWO.public], "x")
            t = terminal(opcode)
            refused = t.take_command(bytes(flipped))
            assert refused == oracle.MALFORMED or refused >= oracle.KEY
            assert t == terminal(opcode)


def test_a_command_for_another_boot_terminal_or_time_is_refused_by_name() -> None:
    t = terminal()
    data = sign_command(single(Opcode.REBOOT, t), ONE)
    for other, result in (
        (replace(t, boot_nonce=9), oracle.NONCE),
        (replace(t, sequence=9), oracle.NONCE),
        (replace(t, report_key=hash32(b"another")), oracle.NONCE),
        (replace(t, id=bytes(range(2, 10))), oracle.TERMINAL),
        (replace(t, id=bytes(8)), oracle.IDENTITY),
        (replace(t, manifest=b""), oracle.SIGNATURE),
    ):
        assert other.take_command(data) == result
        assert not other.obeyed
    assert t.take_command(sign_command(single(Opcode.REBOOT, t), TWO)) == oracle.SIGNATURE
    assert t.take_command(data) == oracle.OK


def test_the_root_key_commands_a_terminal_without_a_manifest() -> None:
    t = replace(terminal(), manifest=b"")
    data = sign_command(single(Opcode.REBOOT, t, key_index=1), ROOT)
    assert t.take_command(data) == oracle.KEY
    assert t.take_command(sign_command(single(Opcode.REBOOT, t), ROOT)) == oracle.OK


def test_a_revoked_key_commands_nothing() -> None:
    t = terminal()
    keys = KeyManifest(3, (RELEASE.public,), (TWO.public,))
    assert t.take_keys(sign_manifest(keys, ROOT)) == oracle.OK
    assert t.take_command(sign_command(single(Opcode.REBOOT, t), ONE)) == oracle.SIGNATURE
    assert t.take_command(sign_command(single(Opcode.REBOOT, t, 1), ONE)) == oracle.KEY
    assert t.take_command(sign_command(single(Opcode.REBOOT, t), TWO)) == oracle.OK


@given(st.permutations(list(range(5, 14))))
def test_broadcasts_are_done_once_and_in_ascending_order(counters: list[int]) -> None:
    t = terminal()
    done = []
    for counter in counters:
        data = sign_command(to_all(Opcode.RAISE_FLOOR, counter), ONE)
        expected = oracle.OK if counter > t.commands else oracle.COUNTER
        assert t.take_command(data) == expected
        assert t.take_command(data) == oracle.COUNTER
        done += [counter] if expected == oracle.OK else []
    assert done == sorted(done)
    assert len(t.obeyed) == len(done)


@pytest.mark.parametrize(
    ("opcode", "change", "result"),
    [
        (Opcode.RAISE_FLOOR, {"running_counter": 2}, oracle.VALUE),
        (Opcode.SET_TIME, {"day": 11}, oracle.VALUE),
        (Opcode.ACTIVATE, {"phase": oracle.TRIAL}, oracle.PHASE),
        (Opcode.CONFIRM, {"phase": oracle.STAGED}, oracle.PHASE),
        (Opcode.CONFIRM, {"alive": False}, oracle.NOT_ALIVE),
        (Opcode.REVERT, {"other": bytes(16)}, oracle.PACK),
    ],
)
def test_what_the_state_of_a_terminal_says_against_a_command(
    opcode: Opcode, change: dict[str, object], result: int
) -> None:
    t = replace(terminal(opcode), **change)
    assert t.take_command(sign_command(single(opcode, t), ONE)) == result
    assert (t.sequence, t.obeyed) == (1, [])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"opcode": Opcode.REBOOT}, "cannot be said to all terminals, only abort, activate, raise"),
        ({"opcode": Opcode.ABORT, "pack": PACK}, "to all terminals it needs a counter"),
        ({"opcode": Opcode.ABORT, "counter": 1}, "it names a pack"),
        ({"opcode": Opcode.REBOOT, "terminal": ID}, "to one terminal it needs a nonce"),
        ({"opcode": Opcode.RAISE_FLOOR, "counter": 1}, "its security counter is 1 to 4294967295"),
        ({"opcode": Opcode.RAISE_FLOOR, "counter": 1, "value": 2**32}, "its security counter is"),
        ({"opcode": Opcode.ABORT, "counter": 1, "pack": PACK, "value": 1}, "it has no value"),
        ({"opcode": Opcode.ABORT, "counter": 1, "pack": PACK, "key_index": 2}, "key index is"),
    ],
)
def test_rules_of_a_command(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Command(**fields)  # type: ignore[arg-type]


def test_the_nonce_is_the_terminals() -> None:
    t = terminal()
    assert nonce_of(t.report_key, t.sequence, t.boot_nonce) == t.nonce()
    before = {t.nonce()}
    t.restart()
    before.add(t.nonce())
    t.changed()
    assert len(before | {t.nonce()}) == 3
