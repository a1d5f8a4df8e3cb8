# SPDX-License-Identifier: Apache-2.0
"""Sealed files: against an oracle in plain Python, and with any bit changed."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import sample
from tests.support import sealing_oracle as oracle
from tinyfin.errors import InputError, PackError, TinyfinError
from tinyfin.field import sealing
from tinyfin.field.sealing import Kind, Sealed, open_sealed, parse_sealed, seal_pack, seal_state
from tinyfin.formats import PACK_HEADER, PACK_MAGIC
from tinyfin.pack.signing import hash32

KEY, OTHER = hash32(b"a sealing key"), hash32(b"another one")
KEYS = st.binary(min_size=32, max_size=32)
FROM_0 = bytes(range(32))


def tiny_pack(body: bytes = b"a body of 32 bytes, as any other") -> bytes:
    """A header with the right size and digest, and this body: as much as opening looks at."""
    header = bytearray(PACK_HEADER.size)
    struct.pack_into("<IHHI", header, 0, PACK_MAGIC, 1, len(header), len(header) + len(body))
    header[128:160] = hash32(body)
    return bytes(header) + body


def test_the_oracle_computes_the_published_vectors() -> None:
    """RFC 8439, 2.3.2; draft-irtf-cfrg-xchacha-03, 2.2.1."""
    nonce = bytes.fromhex("000000090000004a00000000")
    first = oracle.block(FROM_0, (1).to_bytes(4, "little") + nonce)
    assert first.hex().startswith(
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
    )
    assert first.hex().endswith("d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e")
    made = oracle.hchacha20(FROM_0, bytes.fromhex("000000090000004a0000000031415927"))
    assert made.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


@settings(max_examples=40, deadline=None)
@given(KEYS, st.binary(max_size=300))
def test_what_is_sealed_opens_in_the_oracle_and_the_other_way_round(
    key: bytes, data: bytes
) -> None:
    pack = tiny_pack(data)
    for kind, plain, sealed in (
        (Kind.PACK, pack, seal_pack(pack, key)),
        (Kind.STATE, data, seal_state(data, key)),
    ):
        assert oracle.opened(sealed.encode(), key) == (kind, plain)
        nonce = bytes(range(24)) if kind == Kind.PACK else oracle.state_nonce(plain, key)
        theirs = parse_sealed(oracle.file_of(kind, plain, key, nonce), "x")
        assert open_sealed(theirs, key, "x") == plain
    assert sealing.terminal_sealing_key(key, b"terminal") == oracle.own_key(key, b"terminal")


def test_no_stream_is_used_twice() -> None:
    """The same pack sealed again, the same bytes as a pack and as a state, two states that differ
    in one byte: each under another stream."""
    pack = tiny_pack()
    images = [pack, pack[:-1] + b"?"]
    sealed = [seal_pack(pack, KEY), seal_pack(pack, KEY), *(seal_state(i, KEY) for i in images)]
    streams = {
        bytes(a ^ b for a, b in zip(one.content, plain, strict=True))
        for one, plain in zip(sealed, [pack, pack, *images], strict=True)
    }
    assert len(streams) == len({one.nonce for one in sealed}) == 4
    again = Sealed(Kind.STATE, sealed[0].key_id, sealed[0].nonce, b"")  # the nonce of a pack
    assert oracle.xored(pack, Kind.STATE, KEY, again.nonce) != sealed[0].content
    assert seal_state(pack, KEY) == seal_state(pack, KEY)


SEAL: list[Callable[[], Sealed]] = [
    lambda: seal_pack(tiny_pack(), KEY),
    lambda: seal_state(b"TFST and what follows", KEY),
]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("seal", SEAL)
def test_every_single_bit_of_a_sealed_file_counts(seal: Callable[[], Sealed]) -> None:
    data = seal().encode()
    for bit in range(8 * len(data)):
        with pytest.raises(PackError, match=r"^x\.tfsealed: "):
            parse_sealed(flipped(data, bit), "x.tfsealed")
    for size in range(len(data)):
        with pytest.raises(PackError, match=r"^x\.tfsealed: "):
            parse_sealed(data[:size], "x.tfsealed")
    assert parse_sealed(data, "x.tfsealed").encode() == data


@pytest.mark.parametrize("seal", SEAL)
def test_a_change_with_its_checksum_made_good_is_found_when_it_is_opened(
    seal: Callable[[], Sealed],
) -> None:
    """But for those fields of a pack's header that only its signature covers."""
    data = seal().encode()[:-16]
    signed_alone = {*range(4, 8), *range(12, 128), *range(160, PACK_HEADER.size)}
    for bit in range(8 * len(data)):
        if data[6] == Kind.PACK and bit // 8 - 48 in signed_alone:
            continue
        changed = flipped(data, bit)
        with pytest.raises(TinyfinError, match=r"^x: "):
            open_sealed(parse_sealed(changed + oracle.check(changed), "x"), KEY, "x")


def test_these_tests_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checksum that is not compared, and a nonce that is not computed again."""
    data = SEAL[1]().encode()
    changed = flipped(data, 8 * 50)
    with monkeypatch.context() as patch:
        patch.setattr(hmac, "compare_digest", lambda a, b: True)
        taken = parse_sealed(changed, "x")
    with pytest.raises(PackError, match="was changed since"):
        open_sealed(taken, KEY, "x")
    monkeypatch.setattr(sealing, "_state_nonce", lambda image, key: taken.nonce)
    assert open_sealed(taken, KEY, "x") != open_sealed(parse_sealed(data, "x"), KEY, "x")


def test_another_key_and_a_newer_version_are_named() -> None:
    sealed = seal_pack(sample.make_pack(), KEY)
    with pytest.raises(InputError) as told:
        open_sealed(sealed, OTHER, "x")
    for key in (KEY, OTHER):
        assert sealing.key_id(key).hex() in str(told.value)
    newer = flipped(sealed.encode(), 8 * 4 + 1)
    with pytest.raises(PackError, match="version 3; this tinyfin knows 1; update"):
        parse_sealed(newer, "x")
    with pytest.raises(InputError, match="16 hexadecimal digits"):
        sealing.parse_key_id("12")
