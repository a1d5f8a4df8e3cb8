# SPDX-License-Identifier: Apache-2.0
"""A pack in another layout: another pack of the same model, found for a target, never mixed up."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.cli import tinyfin
from tinyfin.errors import PackError
from tinyfin.formats import LAYOUTS
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.pack import layouts
from tinyfin.pack.container import SIGNED_BYTES, parse_pack
from tinyfin.pack.sections import join_sections
from tinyfin.pack.signing import DEVELOPMENT_KEY, Key, generate_key, hash32, save_key, sign
from tinyfin.pack.trust import save_public_key
from tinyfin.targets import catalogue
from tinyfin.targets.flash import target_pack
from tinyfin.twin import Twin

OTHER = LAYOUTS[1:]
M4, M55, M0 = (catalogue.get(name) for name in ("cortex-m4", "cortex-m55", "cortex-m0"))


@pytest.fixture(scope="module")
def key() -> Key:
    return generate_key()


@pytest.fixture
def released(key: Key, tmp_path: Path) -> Path:
    """A run folder with a pack of a release key."""
    path = tmp_path / "model.tfpack"
    path.write_bytes(sample.make_pack(key=key))
    save_public_key(key.public, tmp_path / "public.key")
    return path


def with_layout_number(pack: bytes, number: int) -> bytes:
    """The pack signed again with another number in header and plan, its weights as they were."""
    parsed = parse_pack(pack)
    plan = bytearray(parsed.sections["PLAN"])
    struct.pack_into("<H", plan, 6, number)
    body = join_sections(list({**parsed.sections, "PLAN": bytes(plan)}.items()))
    head = bytearray(pack[:SIGNED_BYTES])
    struct.pack_into("<I", head, 36, number)
    head[128:] = hash32(body)
    return bytes(head) + sign(bytes(head), DEVELOPMENT_KEY) + body


@pytest.mark.parametrize("layout", OTHER)
def test_the_same_model_in_another_pack(layout: str) -> None:
    pack = sample.make_pack()
    made = layouts.repack_pack(pack, layout)
    one, other = parse_pack(pack), parse_pack(made)
    assert other.verified
    assert other.development
    assert layouts.name_of(other) == layout
    assert other.pack_id != one.pack_id
    assert (other.model_id, other.state_layout) == (one.model_id, one.state_layout)
    assert layouts.repack_pack(made, "canonical") == pack
    for third in LAYOUTS:
        assert layouts.repack_pack(made, third) == layouts.repack_pack(pack, third)


@pytest.mark.parametrize("layout", OTHER)
def test_the_twin_runs_it_and_the_state_survives(layout: str) -> None:
    tx = sample.make_transactions()
    stream = sample.make_stream(tx)
    one = Twin(sample.make_pack(), terminals=len(tx.terminals))
    other = Twin(layouts.repack_pack(sample.make_pack(), layout), terminals=len(tx.terminals))
    expected, found = one.run(tx, stream), other.run(tx, stream)
    for name, values in vars(expected).items():
        assert np.array_equal(values, getattr(found, name)), name
    assert len(np.unique(expected.raw)) > 10
    image = one.export_state(0)
    assert image == other.export_state(0)
    other.reset(0)
    other.import_state(0, image)
    assert other.export_state(0) == image


def test_a_layouts_number_on_other_bytes_is_noticed() -> None:
    """Negative control: comparing with the twin, and ``is_repack``, would see a lie."""
    pack = sample.make_pack()
    lie = with_layout_number(pack, LAYOUTS.index("rows"))
    assert not layouts.is_repack(parse_pack(lie), parse_pack(pack))
    x = np.random.default_rng(2).integers(-128, 128, (8, Twin(pack).input_count)).astype(np.int8)
    assert not np.array_equal(Twin(lie).infer(x)[0], Twin(pack).infer(x)[0])


def test_the_engine_names_a_layout_that_it_does_not_know() -> None:
    with pytest.raises(PackError, match="TFIN_E_LAYOUT"):
        Twin(with_layout_number(sample.make_pack(), 9))
    with pytest.raises(PackError, match=r"'diagonal'.*canonical, rows, columns"):
        layouts.repack_pack(sample.make_pack(), "diagonal")


def test_a_development_pack_is_repacked_for_the_target(tmp_path: Path) -> None:
    path = tmp_path / "model.tfpack"
    path.write_bytes(sample.make_pack())
    assert target_pack(path, M4) == path
    for target in (M55, M0):
        data = target_pack(path, target).read_bytes()
        assert data == layouts.repack_pack(sample.make_pack(), target.layout)
        assert layouts.running(path, parse_pack(data).pack_id.hex()) == data
    assert layouts.running(path, "00" * 16) == sample.make_pack()


def test_a_release_pack_needs_its_key(key: Key, released: Path) -> None:
    told: list[str] = []
    assert target_pack(released, M55, note=told.append) == released
    assert "canonical" in told[0]
    assert "tinyfin sign PACK --key" in told[0]
    for wrong in (None, generate_key(), DEVELOPMENT_KEY):
        with pytest.raises(PackError, match="--key"):
            layouts.repack_pack(released.read_bytes(), "rows", key=wrong)
    files = layouts.write_layouts(released, key=key)
    assert [path.name for path in files] == ["model.rows.tfpack", "model.columns.tfpack"]
    told.clear()
    chosen = parse_pack(
        target_pack(released, M55, note=told.append).read_bytes(), keys=[key.public]
    )
    assert chosen.verified
    assert layouts.name_of(chosen) == "rows"
    assert not told
    layouts.remove_layouts(released)
    assert not any(path.exists() for path in files)


def test_a_file_of_another_pack_is_not_taken(key: Key, released: Path) -> None:
    """A repack left from an older model, a damaged one, one that somebody else signed."""
    beside = layouts.layout_file(released, "rows")
    other = sample.make_pack(seed=2, key=key)
    stranger = layouts.repack_pack(sample.make_pack(), "rows")
    beside.write_bytes(layouts.repack_pack(other, "rows", key=key))
    for data in (beside.read_bytes(), stranger):
        beside.write_bytes(data)
        with pytest.raises(PackError, match=r"not model\.tfpack in another layout"):
            target_pack(released, M55)
    good = bytearray(layouts.repack_pack(released.read_bytes(), "rows", key=key))
    good[-40] ^= 1
    beside.write_bytes(good)
    with pytest.raises(PackError, match="damaged"):
        target_pack(released, M55)
    released.write_bytes(layouts.repack_pack(other, "columns", key=key))
    beside.unlink()
    with pytest.raises(PackError, match=r"layout columns.*model\.rows\.tfpack"):
        target_pack(released, M55)


def test_verbs(key: Key, released: Path, tmp_path: Path) -> None:
    file = tmp_path / "key"
    save_key(key, file)
    refused = tinyfin(f"sign {released}", code=3)
    assert "--key" in refused.stderr
    words = ["sign", str(tmp_path), "--key", str(file), "--target", "cortex-m55", "--json"]
    done = tinyfin(*words)
    rows = layouts.layout_file(released, "rows")
    assert json.loads(done.stdout) == {"files": [str(rows)]}
    done = tinyfin(f"inspect {rows} --json")
    facts = json.loads(done.stdout)
    assert (facts["layout"], facts["signature"]) == ("rows", "verified")
    out = tmp_path / "generated"
    done = tinyfin(f"codegen {tmp_path} --out {out} --target cortex-m55 --json")
    assert json.loads(done.stdout)["pack_id"] == facts["pack_id"]


def test_replay_compares_with_the_pack_that_the_terminal_runs(tmp_path: Path) -> None:
    from tinyfin import config, simulator

    path = tmp_path / "model.tfpack"
    path.write_bytes(sample.make_pack())
    data = tmp_path / "data.parquet"
    settings = config.load(None).simulate.model_copy(update={"terminals": 1, "days": 2})
    simulator.write(simulator.simulate(settings), data)
    words = ["replay", str(path), str(data), "--limit", "30", "--json", "--port"]
    for pack in (layouts.repack_pack(sample.make_pack(), "columns"), sample.make_pack(tweak=1)):
        program = build_host_terminal(pack, cflags=("-O1",))
        done = tinyfin(*words, f"exec:{program}", code=None)
        facts = json.loads(done.stdout)
        assert facts["device_pack"] == parse_pack(pack).pack_id.hex()
        same = facts["pack"] == facts["device_pack"]
        assert same is (done.exit_code == 0) is (layouts.name_of(parse_pack(pack)) == "columns")
