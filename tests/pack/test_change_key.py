# SPDX-License-Identifier: Apache-2.0
"""A finished development pack becomes a release: `tinyfin sign PACK --key KEY`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import sample
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.native import Engine, Refused, library
from tinyfin.errors import PackError
from tinyfin.pack import layouts
from tinyfin.pack.container import SIGNED_BYTES, parse_pack, sign_with
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, generate_key, save_key
from tinyfin.pack.trust import keys_beside, save_public_key

HEADER_MAY_CHANGE = {*range(20, 24), *range(28, 32)}
"""Flags with the development mark, and key id (docs/formats/pack.md)."""
COUNTER = {*range(16, 20)}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Key files, their public halves next to them (.pub)."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("first", "second"):
        tinyfin("keygen", folder / name)
    return {name: folder / name for name in ("first", "second")}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A lone development pack, not in a run."""
    path = tmp_path / "till.tfpack"
    path.write_bytes(sample.make_pack())
    return path


def test_nothing_but_the_signature_changes(keys: dict[str, Path], pack: Path) -> None:
    before = parse_pack(pack.read_bytes())
    facts = tinyfin_json("sign", pack, "--key", keys["first"])
    [public] = keys_beside(pack)
    after = parse_pack(pack.read_bytes(), keys=[public])
    assert (after.verified, after.development) == (True, False)
    assert after.sections == before.sections
    differing = {i for i in range(SIGNED_BYTES) if after.data[i] != before.data[i]}
    assert differing <= HEADER_MAY_CHANGE
    assert facts["pack_id"] == after.pack_id.hex() != facts["pack_id_before"]
    assert (facts["model_id"], facts["key_before"]) == (before.model_id.hex(), "development")
    for name in ("rows", "columns"):
        made = parse_pack(layouts.layout_file(pack, name).read_bytes(), keys=[public])
        assert made.verified
        assert layouts.is_repack(made, after)


def test_the_counter_goes_along_when_asked(keys: dict[str, Path], pack: Path) -> None:
    before = parse_pack(pack.read_bytes())
    tinyfin("sign", pack, "--key", keys["first"], "--security-counter", 4)
    after = parse_pack(pack.read_bytes(), keys=keys_beside(pack))
    assert (after.verified, after.security_counter) == (True, 4)
    assert after.sections == before.sections
    differing = {i for i in range(SIGNED_BYTES) if after.data[i] != before.data[i]}
    assert differing <= HEADER_MAY_CHANGE | COUNTER
    tinyfin("sign", pack, "--key", keys["second"])
    assert parse_pack(pack.read_bytes()).security_counter == 4, "another key does not set it back"


def test_a_pack_without_lineage_takes_a_counter(pack: Path) -> None:
    """Its parent is then the first thing in its lineage."""
    before = parse_pack(pack.read_bytes())
    assert "LINE" not in before.sections
    tinyfin("sign", pack, "--security-counter", 3)
    after = parse_pack(pack.read_bytes())
    assert (after.security_counter, after.lineage) == (3, {"parent": before.pack_id.hex()})


def test_only_the_signed_pack_opens_in_a_release(keys: dict[str, Path], pack: Path) -> None:
    """The engine of a release; the development pack is the control."""
    tinyfin("sign", pack, "--key", keys["first"])
    [public] = keys_beside(pack)
    release = library("TFIN_RELEASE")
    Engine(pack.read_bytes(), lib=release, keys=[public])
    with pytest.raises(Refused, match="TFIN_E_KEY"):
        Engine(sample.make_pack(), lib=release, keys=[public])


def test_out_leaves_the_pack_alone(keys: dict[str, Path], pack: Path, tmp_path: Path) -> None:
    (tmp_path / "release").mkdir()
    out = tmp_path / "release" / "model.tfpack"
    tinyfin("sign", pack, "--key", keys["first"], "--out", out, "--target", "cortex-m55")
    assert pack.read_bytes() == sample.make_pack()
    assert not (tmp_path / "public.key").exists()
    names = {path.name for path in out.parent.iterdir()}
    assert names == {"model.tfpack", "model.rows.tfpack", "public.key"}
    assert tinyfin_json("inspect", out)["signature"] == "verified"
    assert "--out goes with --key" in tinyfin("sign", pack, "--out", out, code=2).stderr


def test_a_key_gives_way_to_another_only_where_it_is_trusted(
    keys: dict[str, Path], pack: Path, tmp_path: Path
) -> None:
    tinyfin("sign", pack, "--key", keys["first"])
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    (alone / "till.tfpack").write_bytes(pack.read_bytes())
    words = ("sign", alone / "till.tfpack", "--key", keys["second"])
    assert "--public-key FILE" in tinyfin(*words, code=3).stderr
    assert (alone / "till.tfpack").read_bytes() == pack.read_bytes()
    facts = tinyfin_json(*words, "--public-key", f"{keys['first']}.pub")
    assert facts["key_before"] == f"{parse_pack(pack.read_bytes()).key_id:08x}"
    facts = tinyfin_json("sign", pack, "--key", keys["second"])
    assert facts["public_key_replaced"] is True
    assert pack.read_bytes() == (alone / "till.tfpack").read_bytes()
    assert parse_pack(pack.read_bytes(), keys=keys_beside(pack)).verified


def test_a_damaged_or_forged_pack_is_not_signed(keys: dict[str, Path], pack: Path) -> None:
    """Else a signature would vouch for whatever it was."""
    good = pack.read_bytes()
    for at, told in ((-1, "damaged"), (170, "signature does not verify")):
        bad = bytearray(good)
        bad[at] ^= 1
        pack.write_bytes(bad)
        assert told in tinyfin("sign", pack, "--key", keys["first"], code=3).stderr
        assert pack.read_bytes() == bad
    stranger = parse_pack(sample.make_pack(key=generate_key()))
    assert not stranger.verified
    with pytest.raises(PackError, match="not trusted here"):
        sign_with(stranger, generate_key())


def test_the_development_key_makes_no_release(
    keys: dict[str, Path], pack: Path, tmp_path: Path
) -> None:
    """Whoever writes its seed or its public half into a file does not get around the mark."""
    own = generate_key()
    signed = parse_pack(sample.make_pack(key=own), keys=[own.public])
    assert parse_pack(sign_with(signed, DEVELOPMENT_KEY)).development
    seed, public = tmp_path / "seed", tmp_path / "pub"
    save_key(Key(DEVELOPMENT_KEY.seed, DEVELOPMENT_KEY.public), seed)
    save_public_key(DEVELOPMENT_KEY.public, public)
    for words in (
        ("sign", pack, "--key", seed),
        ("sign", pack, "--key", keys["first"], "--public-key", public),
        ("codegen", pack, "--out", tmp_path / "c", "--public-key", public),
        ("build", pack, "--target", "cortex-m4", "--public-key", public),
    ):
        assert "anybody can sign" in tinyfin(*words, code=3).stderr
    assert pack.read_bytes() == sample.make_pack()
