# SPDX-License-Identifier: Apache-2.0
"""``tinyfin inspect`` explains what is whole and refuses the rest, never with a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from tests.pack.conftest import tiny_tflite
from tests.support.cli import tinyfin
from tinyfin.pack.container import build_pack, model_id
from tinyfin.pack.signing import generate_key
from tinyfin.pack.trust import save_public_key
from tinyfin.twin import Twin


def inspect(path: Path, *options: str) -> Result:
    return tinyfin(f"inspect {path}", *options, code=None)


@pytest.fixture
def pack(tmp_path: Path, tiny: dict[str, Any]) -> Path:
    path = tmp_path / "tiny.tfpack"
    path.write_bytes(build_pack(**tiny))
    return path


def test_a_pack_as_json(pack: Path, tiny: dict[str, Any]) -> None:
    result = inspect(pack, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    twin = Twin(pack.read_bytes())
    assert report["pack_id"] == twin.pack_id.hex()
    assert report["model_id"] == tiny["model"].hex()
    assert report["format_version"] == 1
    assert report["bytes"] == pack.stat().st_size
    assert report["features"] == ["amt_log", "gap_s"]
    assert report["operators"] == ["FIELD", "LOG2", "SINCE", "FULLY_CONNECTED"]
    assert report["memory_bytes"] == twin.memory_size
    assert report["signature"] == "verified"
    assert report["decision"]["reasons"] == {
        "R01": "unusual amount",
        "R04": "transactions follow each other faster than usual",
    }


def test_a_pack_in_words(pack: Path) -> None:
    text = inspect(pack).stdout
    for part in ("amt_log, gap_s", "FULLY_CONNECTED 2x1", "development key (verified)", "till"):
        assert part in text


def test_without_names_the_catalogue_helps(tmp_path: Path, tiny: dict[str, Any]) -> None:
    path = tmp_path / "nameless.tfpack"
    path.write_bytes(build_pack(**{**tiny, "meta": {"features": None, "fields": 3}}))
    report = json.loads(inspect(path, "--json").stdout)
    assert report["features"] == ["amt_log", "gap_s"]
    assert [field["name"] for field in report["fields"]] == ["field_0", "field_1"]


def test_a_release_pack_and_its_public_key(tmp_path: Path, tiny: dict[str, Any]) -> None:
    key = generate_key()
    path = tmp_path / "release.tfpack"
    path.write_bytes(build_pack(**tiny, key=key))
    assert "not checked" in inspect(path).stdout
    public = tmp_path / "release.pub"
    save_public_key(key.public, public)
    assert "(verified)" in inspect(path, "--public-key", str(public)).stdout
    save_public_key(key.public, tmp_path / "public.key")
    assert "(verified)" in inspect(path).stdout
    public.write_text("zz")
    assert inspect(path, "--public-key", str(public)).exit_code == 3


def test_a_tflite(tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_tflite())
    report = json.loads(inspect(path, "--json").stdout)
    assert report["operators"] == ["FULLY_CONNECTED"]
    assert report["model_id"] == model_id(path.read_bytes()).hex()
    assert report["plan"]["macs"] == 2
    assert "FULLY_CONNECTED" in inspect(path).stdout


def test_garbage_is_refused(tmp_path: Path, pack: Path) -> None:
    whole, model = pack.read_bytes(), tiny_tflite()
    rng = np.random.default_rng(0)
    samples = [b"", b"TFPK", b"TFPK" + bytes(400), b"\0\0\0\0TFL3", b"hello"]
    samples += [whole[:-1], model[:99]]
    samples += [rng.bytes(300), b"TFPK" + rng.bytes(300), b"\x1c\0\0\0TFL3" + rng.bytes(300)]
    for number, sample in enumerate(samples):
        path = tmp_path / f"sample{number}"
        path.write_bytes(sample)
        result = inspect(path)
        assert result.exit_code == 3, sample
        assert result.stderr.startswith("error: ")
        assert str(path) in result.stderr
    assert inspect(tmp_path / "missing").exit_code == 3
    folder = inspect(tmp_path)  # a run without a pack
    assert folder.exit_code == 3
    assert "run.json is missing" in folder.stderr
