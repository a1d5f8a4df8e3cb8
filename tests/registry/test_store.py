# SPDX-License-Identifier: Apache-2.0
"""The content of a registry is an OCI image layout by the letter of image-spec 1.1, and equal
content has equal bytes."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import tinyfin, tinyfin_json
from tests.support.registries import START_S, contents, key, policy, registry
from tinyfin.errors import InputError
from tinyfin.pack.signing import save_key
from tinyfin.registry.contents import gather
from tinyfin.registry.registry import Registry
from tinyfin.registry.store import Store

FILES = {"metrics.json": b'{"schema_version": 1}', "MODEL_CARD.md": b"# Card"}


def filled(folder: Path, run: Path) -> Registry:
    made = registry(folder)
    held = contents(run, FILES)
    made.add(held.files, key("a"), now_s=START_S + 60)
    evidence = {"seen.csv": b"a,b\n", "monitor.json": b"[]"}
    made.validate(held.facts.pack_id, evidence, key("b"), now_s=START_S + 120)
    return made


def descriptors(folder: Path) -> dict[str, dict[str, Any]]:
    """Every blob that the index leads to, by digest, its media type, size and digest checked."""
    found: dict[str, dict[str, Any]] = {}

    def visit(one: dict[str, Any]) -> None:
        assert re.fullmatch("sha256:[0-9a-f]{64}", one["digest"])
        assert re.fullmatch(r"[a-z0-9]+/[A-Za-z0-9.+-]+", one["mediaType"])
        data = (folder / "blobs" / one["digest"].replace(":", "/")).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one["size"], one["digest"][7:])
        for name, value in one.get("annotations", {}).items():
            assert isinstance(value, str), name
        found[one["digest"]] = one
        if one["mediaType"] == "application/vnd.oci.image.manifest.v1+json":
            manifest = json.loads(data)
            assert manifest["schemaVersion"] == 2
            assert manifest["mediaType"] == one["mediaType"]
            assert manifest["artifactType"]
            assert manifest["layers"]
            for part in (manifest["config"], *manifest["layers"]):
                visit(part)
            if "subject" in manifest:
                assert manifest["subject"]["digest"] in found

    assert json.loads((folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((folder / "index.json").read_bytes())
    assert (index["schemaVersion"], index["mediaType"]) == (
        2,
        "application/vnd.oci.image.index.v1+json",
    )
    for one in index["manifests"]:
        visit(one)
    return found


def test_the_layout_is_what_image_spec_says_and_holds_nothing_else(tmp_path: Path) -> None:
    made = filled(tmp_path / "r", tmp_path / "run")
    found = descriptors(made.path)
    there = {f"sha256:{path.name}" for path in (made.path / "blobs" / "sha256").iterdir()}
    assert there == set(found)
    types = sorted(one["mediaType"] for one in found.values())
    assert types == [
        "application/vnd.oci.empty.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.tinyfin.metrics.v1+json",
        "application/vnd.tinyfin.monitor.v1+json",
        "application/vnd.tinyfin.pack.facts.v1+json",
        "application/vnd.tinyfin.pack.v1",
        "text/csv",
        "text/markdown",
    ]
    assert {path.name for path in made.path.iterdir()} == {
        "oci-layout",
        "index.json",
        "blobs",
        "log.jsonl",
    }


def test_the_same_again_has_the_same_bytes(tmp_path: Path) -> None:
    trees = []
    for name in ("one", "two"):
        made = filled(tmp_path / name, tmp_path / f"run of {name}")
        trees.append(
            {str(p.relative_to(made.path)): p.read_bytes() for p in made.path.rglob("*.*")}
            | {p.name: p.read_bytes() for p in made.store.blobs.iterdir()}
        )
    assert trees[0] == trees[1]


def test_a_changed_blob_is_written_again_and_what_is_left_over_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    one = store.put(b"content", "text/csv", "a.csv")
    place = store.blobs / one["digest"][7:]
    place.write_bytes(b"damaged")
    (store.blobs / ".half.1.2").write_bytes(b"")
    store.sweep()
    assert store.put(b"content", "text/csv", "a.csv") == one
    assert [path.name for path in store.blobs.iterdir()] == [place.name]
    assert store.read(one["digest"]) == b"content"
    with pytest.raises(InputError, match="is no manifest"):
        store.manifest(one["digest"])


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    held = contents(tmp_path / "run", FILES)
    other = tmp_path / "metrics.json"
    other.write_bytes(b"other")
    with pytest.raises(InputError, match=r"there is another metrics\.json already"):
        gather(tmp_path / "run", [other])
    assert gather(tmp_path / "run", [tmp_path / "run" / "metrics.json"]) == held.files
    with pytest.raises(InputError, match=r"cannot be read.*check the path"):
        gather(tmp_path / "gone")


def test_a_run_that_was_trained_here_goes_in(
    run_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        save_key(key(name), name, "person")
    assert stat.S_IMODE(Path("a").stat().st_mode) == 0o600
    Registry.create("r", policy("a", "b", "c", development=True), key("a"))
    monkeypatch.setenv("TINYFIN_REGISTRY", "r")
    pack = tinyfin_json("registry add", run_copy, "--key", "a")["subject"]["pack"]
    shown = tinyfin_json("registry show", pack)
    names = {one["name"] for one in shown["files"]}
    assert {"model.tfpack", "run.json", "config.toml", "metrics.json", "model.tflite"} <= names
    assert shown["config"]["family"] == "mlp"
    assert shown["config"]["lineage"]["data"]
    assert tinyfin("registry verify").output.startswith("VALID")
    assert descriptors(Path("r"))
