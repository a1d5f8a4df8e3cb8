# SPDX-License-Identifier: Apache-2.0
"""Sealed files from the command line: made, shown, opened, refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.support import sample
from tests.support import sealing_oracle as oracle
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.pack import key_files
from tinyfin.pack.container import parse_pack
from tinyfin.pack.signing import generate_key
from tinyfin.twin import Twin

PACK = sample.make_pack(2)
STATE = Twin(PACK).export_state(0)


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The sealing key of seal.key, in a folder with another key, a pack and a state image."""
    monkeypatch.chdir(tmp_path)
    for name in ("seal", "other"):
        tinyfin(f"keygen {name}.key --kind seal")
    Path("a.tfpack").write_bytes(PACK)
    Path("a.state").write_bytes(STATE)
    return key_files.read_secret("seal.key", "seal", "a sealing key")


def mode(path: str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_a_sealing_key_is_private_and_has_no_public_half(key: bytes) -> None:
    assert mode("seal.key") == 0o600
    assert not Path("seal.key.pub").exists()
    assert Path("seal.key").read_text() == f"seal {key.hex()}\n"
    told = tinyfin_json("keygen third.key --kind seal")
    third = key_files.read_secret("third.key", "seal", "a sealing key")
    assert told["key_id"] == oracle.mac(third, b"ident", 8).hex()
    for line in (
        "keygen x.key --fleet-key seal.key --terminal 01",
        "keygen x.key --kind seal --terminal 01",
        "state read --seal-key seal.key --seal-id 01 --out x --port x",
        "seal a.tfpack --open --target cortex-m4 --seal-key seal.key --out x",
    ):
        tinyfin(line, code=2)
    assert not Path("x.key").exists()


def test_a_terminals_own_key_is_that_of_its_secrets(key: bytes) -> None:
    tinyfin("keygen fleet.key --kind fleet")
    fleet = key_files.read_secret("fleet.key", "fleet", "a fleet key")
    name = "00000000000004d2"
    tinyfin(f"keygen own.key --kind seal --fleet-key fleet.key --terminal {name}")
    own = key_files.read_secret("own.key", "seal", "a sealing key")
    assert own == oracle.own_key(fleet, bytes.fromhex(name))
    assert mode("own.key") == 0o600


def test_a_pack_is_sealed_shown_and_opened(key: bytes) -> None:
    made = tinyfin_json("seal a.tfpack --seal-key seal.key --out a.tfsealed")
    data = Path("a.tfsealed").read_bytes()
    assert oracle.opened(data, key) == (oracle.PACK, PACK)
    closed = tinyfin_json("inspect a.tfsealed")
    named = oracle.mac(key, b"ident", 8).hex()
    assert closed == {"kind": "sealed", "sealed": "pack", "sealed_by": named, "bytes": len(PACK)}
    assert made["key_id"] == named
    assert f"by key {named}" in tinyfin("inspect a.tfsealed").stdout
    opened = tinyfin_json("inspect a.tfsealed --seal-key seal.key")
    assert opened["pack_id"] == parse_pack(PACK).pack_id.hex()
    assert (opened["sealed_by"], opened["kind"]) == (named, "pack")
    tinyfin("seal a.tfsealed --open --seal-key seal.key --out b.tfpack")
    assert Path("b.tfpack").read_bytes() == PACK
    assert mode("b.tfpack") == 0o600
    tinyfin("seal a.tfpack --seal-key seal.key --target cortex-m4 --out m4.tfsealed")
    _, of_target = oracle.opened(Path("m4.tfsealed").read_bytes(), key)
    assert parse_pack(of_target).model_id == parse_pack(PACK).model_id


def test_a_state_image_stays_sealed_where_a_key_is_given(key: bytes) -> None:
    tinyfin("seal a.state --seal-key seal.key --out a.tfsealed")
    assert oracle.opened(Path("a.tfsealed").read_bytes(), key) == (oracle.STATE, STATE)
    plain = tinyfin_json("state show a.state --pack a.tfpack")
    assert tinyfin_json("state show a.tfsealed --pack a.tfpack --seal-key seal.key") == plain
    digests = [
        tinyfin(f"state digest {words}").output
        for words in ("a.state", "a.tfsealed --seal-key seal.key")
    ]
    assert digests[0] == digests[1]
    tinyfin("state erase a.tfsealed --pack a.tfpack --token 1 --seal-key seal.key --out b.tfsealed")
    assert oracle.opened(Path("b.tfsealed").read_bytes(), key) == (oracle.STATE, STATE)
    shown = tinyfin("inspect a.tfsealed --seal-key seal.key").stdout
    assert "sealed state image" in shown
    assert "it opens with seal.key" in shown


def test_what_is_wrong_is_named(key: bytes) -> None:
    tinyfin("seal a.tfpack --seal-key seal.key --out a.tfsealed")
    tinyfin("seal a.state --seal-key seal.key --out s.tfsealed")
    damaged = bytearray(Path("a.tfsealed").read_bytes())
    damaged[100] ^= 1
    Path("damaged.tfsealed").write_bytes(damaged)
    Path("foreign.tfpack").write_bytes(sample.make_pack(key=generate_key()))
    tinyfin("keygen release.key")
    for line, said in (
        ("inspect damaged.tfsealed", "its checksum is wrong"),
        ("install damaged.tfsealed --port x", "its checksum is wrong"),
        ("install s.tfsealed --port x", "is a sealed state image; give a pack"),
        ("inspect a.tfsealed --seal-key other.key", "give the other one with --seal-key"),
        ("inspect a.tfsealed --seal-key release.key", "a seal key is wanted here"),
        ("seal a.tfsealed --seal-key seal.key --out x", "is sealed already"),
        ("seal a.tfpack --open --seal-key seal.key --out x", "is not sealed"),
        ("seal foreign.tfpack --seal-key seal.key --out x", "which is not trusted here"),
        ("seal seal.key --seal-key seal.key --out x", "is neither a pack (TFPK) nor a state"),
        ("state show s.tfsealed --pack a.tfpack", "give that key with --seal-key"),
        ("state show a.tfsealed --pack a.tfpack --seal-key seal.key", "give a state image"),
        ("state read --seal-id 12 --out x --port x", "16 hexadecimal digits"),
    ):
        assert said in tinyfin(line, code=3).stderr, line
    assert not Path("x").exists()
