# SPDX-License-Identifier: Apache-2.0
"""Keys and signatures."""

from __future__ import annotations

import contextlib
import json
import stat
from pathlib import Path

import monocypher
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tinyfin.cli.keygen import command
from tinyfin.errors import InputError
from tinyfin.pack.key_files import KINDS, Kind
from tinyfin.pack.signing import (
    DEVELOPMENT_KEY,
    development_key_header,
    generate_key,
    load_key,
    public_key,
    save_key,
    sign,
    verify,
)
from tinyfin.pack.trust import load_public_key, save_public_key

HEADER = Path(__file__).parents[2] / "firmware/lib/tinyfin/src/development_key.h"


def test_the_c_header_is_the_generated_one() -> None:
    assert HEADER.read_text() == development_key_header()


def test_the_development_key_is_whole() -> None:
    assert public_key(DEVELOPMENT_KEY.seed) == DEVELOPMENT_KEY.public
    assert DEVELOPMENT_KEY.seed.hex() not in repr(DEVELOPMENT_KEY)


def test_public_keys_are_monocyphers() -> None:
    for _ in range(20):
        secret, public = monocypher.generate_signing_key_pair()
        assert public_key(secret[:32]) == public


def test_a_signature_holds_for_its_message_and_key_only() -> None:
    key, other = generate_key(), generate_key()
    signature = sign(b"pack", key)
    assert verify(signature, b"pack", key.public)
    assert not verify(signature, b"pack!", key.public)
    assert not verify(signature, b"pack", other.public)
    assert not verify(signature[:-1], b"pack", key.public)
    assert sign(b"pack", key) == signature


def test_key_files_are_private_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    key = generate_key()
    save_key(key, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path) == key
    with pytest.raises(InputError, match="exists already"):
        save_key(generate_key(), path)
    (tmp_path / "short").write_text("00ff")
    for name in ("short", "missing"):
        with pytest.raises(InputError, match=name):
            load_key(tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_one_kind_is_no_other_one(kind: Kind, tmp_path: Path) -> None:
    key, path, public = generate_key(), tmp_path / "k", tmp_path / "k.pub"
    save_key(key, path, kind)
    save_public_key(key.public, public, kind)
    assert load_key(path, kind) == key
    assert load_public_key(public, kind) == key.public
    for other in set(KINDS) - {kind}:
        with pytest.raises(InputError, match=f"secret {kind} key; a {other} key is wanted here"):
            load_key(path, other)
        with pytest.raises(InputError, match=f"a public {other} key is wanted here"):
            load_public_key(public, other)
    if kind != "release":
        with pytest.raises(InputError, match=f"holds the public half of a {kind} key"):
            load_key(public, kind)
        with pytest.raises(InputError, match=r"give its public half, the \.pub next to it"):
            load_public_key(path, kind)


def test_a_release_key_is_bare_digits_as_it_always_was(tmp_path: Path) -> None:
    key = generate_key()
    (tmp_path / "old").write_text(key.seed.hex().upper() + "\n")
    assert load_key(tmp_path / "old") == key
    save_key(key, tmp_path / "new")
    assert (tmp_path / "new").read_text() == key.seed.hex() + "\n"
    (tmp_path / "other").write_text(f"visa {key.seed.hex()}")
    with pytest.raises(InputError, match="holds a key of the kind 'visa'"):
        load_key(tmp_path / "other")


@given(
    data=st.binary(max_size=200)
    | st.text(st.sampled_from("rot-public sealed0af\n")).map(str.encode)
)
def test_whatever_a_key_file_holds_only_an_input_error_goes(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.key"
    path.write_bytes(data)
    for kind in KINDS:
        for load in (load_key, load_public_key):
            with contextlib.suppress(InputError):
                load(path, kind)


def test_keygen(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    result = CliRunner().invoke(command, [str(path), "--json"])
    report = json.loads(result.stdout)
    assert report["public_key"] == load_key(path).public.hex()
    assert load_key(path).seed.hex() not in result.output
