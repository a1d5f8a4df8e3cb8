# SPDX-License-Identifier: Apache-2.0
"""Key manifests and the secrets of a terminal."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import field_oracle as oracle
from tinyfin.errors import InputError
from tinyfin.field.keys import (
    MANIFEST_BYTES,
    KeyManifest,
    mac,
    parse_manifest,
    parse_terminal_id,
    sign_manifest,
    terminal_keys,
)
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, hash32, key_from_seed

ROOT, A, B, C, D = (key_from_seed(hash32(name)) for name in (b"root", b"a", b"b", b"c", b"d"))
ZERO = bytes(32)
KEYS = st.lists(
    st.binary(min_size=32, max_size=32).filter(any), min_size=4, max_size=4, unique=True
)


def manifest(version: int = 1) -> bytes:
    return sign_manifest(KeyManifest(version, (A.public, B.public), (C.public,)), ROOT)


@given(st.integers(1, 65535), KEYS, st.integers(1, 2), st.integers(1, 2))
def test_a_manifest_comes_back(version: int, keys: list[bytes], releases: int, of: int) -> None:
    made = KeyManifest(version, tuple(keys[:releases]), tuple(keys[2 : 2 + of]))
    data = sign_manifest(made, ROOT)
    assert len(data) == MANIFEST_BYTES
    assert parse_manifest(data, ROOT.public) == made
    terminal = oracle.Terminal(ROOT.public)
    assert terminal.take_keys(data) == oracle.OK
    assert tuple(terminal.release_keys()) == made.release
    assert tuple(terminal.command_keys()) == made.command


def test_every_single_bit_of_a_manifest_counts() -> None:
    data = manifest()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InputError, match=r"^x\.tfkeys: (is no key|its checksum|its signature)"):
            parse_manifest(bytes(flipped), ROOT.public, "x.tfkeys")
        refused = oracle.KEY if bit < 8 * 160 else oracle.SIGNATURE
        assert oracle.Terminal(ROOT.public).take_keys(bytes(flipped)) == refused


@pytest.mark.parametrize(
    ("release", "command", "said"),
    [
        ((), (C,), "0 release keys"),
        ((A, B, D), (C,), "3 release keys"),
        ((A,), (), "0 command keys"),
        ((A, A), (C,), "release key 2 is release key 1 too"),
        ((A,), (C, A), "command key 2 is release key 1 too"),
        ((A,), (DEVELOPMENT_KEY,), "command key 1 is the development key"),
        ((A,), (ROOT,), "the root key is among its keys"),
    ],
)
def test_keys_that_a_manifest_does_not_take(
    release: tuple[Key, ...], command: tuple[Key, ...], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        sign_manifest(
            KeyManifest(1, tuple(x.public for x in release), tuple(x.public for x in command)), ROOT
        )


def resigned(data: bytes, at: int, new: bytes) -> bytes:
    """A manifest with other bytes, whose checksum and signature are right."""
    changed = bytearray(data)
    changed[at : at + len(new)] = new
    changed[28:32] = zlib.crc32(changed[:28] + changed[32:160]).to_bytes(4, "little")
    return bytes(changed[:160]) + ROOT.sign(bytes(changed[:160]))


@pytest.mark.parametrize(
    ("at", "new", "said"),
    [
        (4, b"\0\0", "version 0"),
        (6, b"\0", "has 0 release"),
        (6, b"\3", "has 3 release"),
        (7, b"\2", "command key 2 is no key"),
        (7, b"\xff", "255 command keys"),
        (9, b"\1", "another root key"),
        (17, b"\1", "unused places"),
        (32, ZERO, "release key 1 is no key"),
        (32, B.public, "release key 2 is release key 1 too"),
        (64, C.public, "command key 1 is release key 2 too"),
        (128, D.public, "unused places"),
    ],
)
def test_a_signed_manifest_that_breaks_a_rule(at: int, new: bytes, said: str) -> None:
    data = resigned(manifest(), at, new)
    with pytest.raises(InputError, match=f"^x: .*{said}"):
        parse_manifest(data, ROOT.public, "x")
    refused = oracle.VERSION if at == 4 else oracle.KEY
    assert oracle.Terminal(ROOT.public).take_keys(data) == refused


@given(
    st.binary(max_size=300)
    | st.builds(
        resigned, st.just(manifest()), st.integers(0, 159), st.binary(min_size=1, max_size=32)
    )
)
def test_whatever_bytes_come_only_an_input_error_goes(data: bytes) -> None:
    try:
        parse_manifest(data, ROOT.public)
        accepted = True
    except InputError:
        accepted = False
    if DEVELOPMENT_KEY.public not in data:
        assert (oracle.Terminal(ROOT.public).take_keys(data) == oracle.OK) == accepted


def test_versions_of_manifests_never_fall() -> None:
    terminal = oracle.Terminal(ROOT.public)
    assert terminal.take_keys(manifest(5)) == oracle.OK
    assert terminal.take_keys(manifest(5)) == oracle.OK, "the same bytes again"
    other = sign_manifest(KeyManifest(5, (D.public,), (C.public,)), ROOT)
    for data in (manifest(4), other):
        assert terminal.take_keys(data) == oracle.VERSION
    assert terminal.take_keys(manifest(6)) == oracle.OK


def test_secrets_of_a_terminal() -> None:
    fleet, name = hash32(b"fleet"), bytes(range(1, 9))
    keys = terminal_keys(fleet, name)
    assert keys.report == oracle.mac(fleet, b"report" + name, 32)
    assert keys.audit == oracle.mac(fleet, b"audit" + name, 32)
    assert mac(fleet, b"message", 16) == oracle.mac(fleet, b"message", 16)
    assert (
        len({keys.report, keys.audit, *(terminal_keys(fleet, bytes(7) + b"x").__dict__.values())})
        == 4
    )
    terminal = oracle.Terminal(ROOT.public)
    assert terminal.take_provision(name + keys.report + keys.audit) == oracle.OK
    assert terminal.take_provision(name + keys.report + keys.audit) == oracle.IDENTITY


def test_a_key_of_a_manifest_has_its_place() -> None:
    made = KeyManifest(1, (A.public,), (B.public, C.public))
    assert made.place_of(C.public) == 1
    with pytest.raises(InputError, match="is not in it"):
        made.place_of(A.public)


@pytest.mark.parametrize("text", ["", "12", "0" * 16, "x" * 16, "0x" + "1" * 14, "1" * 17])
def test_terminal_ids(text: str) -> None:
    assert parse_terminal_id("00000000000000fF") == bytes(7) + b"\xff"
    with pytest.raises(InputError, match="16 hexadecimal digits"):
        parse_terminal_id(text)
