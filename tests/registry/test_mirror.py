# SPDX-License-Identifier: Apache-2.0
"""`tinyfin registry mirror`: what MLflow's own client then finds, and what happens to a mirror that
somebody changed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.cli import tinyfin, tinyfin_json
from tests.support.registries import START_S, contents, key, registry
from tinyfin import optional_packages

pytestmark = pytest.mark.xdist_group("tracking")

KEPT = {
    "MODEL_CARD.md": b"# Card\n" + b"x" * 6000,
    "gate.toml": b"[gate]\n",
    "metrics.json": json.dumps({"populations": {"all": {"recall_at_0.1%": 0.25}}}).encode(),
    "evaluation.json": json.dumps(
        {"means": {}, "gate": [{"name": "cold.all", "ok": True, "found": 0.75}]}
    ).encode(),
}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database of MLflow, which takes it a while."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/models.db"


@pytest.fixture
def desk(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A registry with a pack in production everywhere, and in the pilot of two fleets."""
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    made = registry(tmp_path / "registry")
    held = contents(tmp_path / "run", KEPT)
    pack = held.facts.pack_id
    made.add(held.files, key("a"), now_s=START_S + 60)
    made.validate(pack, {}, key("b"), now_s=START_S + 120)
    for name in "bc":
        made.record("approved", pack, {}, key(name), now_s=START_S + 180)
    found = SimpleNamespace(registry=made, pack=pack, uri=uri, hours=1, name=tmp_path.name)

    def record(kind: str, **detail: object) -> None:
        found.hours += 1
        made.record(kind, pack, detail, key("b"), now_s=START_S + 3600 * found.hours)

    found.record, found.client = record, MlflowClient(uri, registry_uri=uri)
    return found


def mirrored(desk: SimpleNamespace) -> list[tuple[str, str]]:
    found = tinyfin_json("registry mirror --mlflow", desk.uri, "--name", desk.name)
    return [(one["kind"], one["where"]) for one in found["changes"]]


def released(desk: SimpleNamespace) -> str:
    """Mirrored with the pack in three places; the name of the model."""
    desk.record("released")
    desk.record("promoted", stage="production", fleet="", wave=None)
    desk.record("promoted", stage="pilot", fleet="north 1", wave=1)
    assert [kind for kind, _ in mirrored(desk)] == ["made", "updated", "updated"]
    return str(desk.name)


def test_a_released_pack_is_a_version(desk: SimpleNamespace, tmp_path: Path) -> None:
    assert mirrored(desk) == []
    name, client = released(desk), desk.client
    model = client.get_registered_model(name)
    aliases = {alias: str(number) for alias, number in model.aliases.items()}
    assert aliases == {"production": "1", "pilot-north_1": "1"}
    version = client.get_model_version_by_alias(name, "production")
    head = tinyfin_json("registry at")["head"]
    assert version.tags == {
        "tinyfin.pack": desk.pack,
        "tinyfin.standing": "released",
        "tinyfin.head": head,
    }
    assert model.tags["tinyfin.head"] == head
    assert version.description.startswith("# Card\nxxx")
    assert len(version.description) == 5000
    run = client.get_run(version.run_id)
    assert run.data.metrics == {
        "metrics.populations.all.recall_at_0.1_percent": 0.25,
        "gate.cold.all.ok": 1.0,
        "gate.cold.all": 0.75,
    }
    pack = (tmp_path / "run" / "model.tfpack").read_bytes()
    for file, data in {**KEPT, "model.tfpack": pack}.items():
        assert Path(client.download_artifacts(version.run_id, file)).read_bytes() == data
    assert mirrored(desk) == []
    said = tinyfin("registry mirror --mlflow", desk.uri, "--name", desk.name).stdout
    assert said == f"the mirror is as the registry is\nhead {head}\n"


def test_it_follows_the_log(desk: SimpleNamespace) -> None:
    name = released(desk)
    desk.record("halted", why="too many alerts")
    desk.record("retired", why="for good")
    found = mirrored(desk)
    assert {kind for kind, _ in found} == {"updated"}
    assert ("updated", f"{name} alias production: removed") in found
    [version] = desk.client.search_model_versions(f"name = '{name}'")
    assert version.tags["tinyfin.standing"] == "retired"
    assert mirrored(desk) == []
    assert "made: tinyfin version 1" in tinyfin("registry mirror --mlflow", desk.uri).output


def test_a_changed_mirror_is_corrected_and_said(desk: SimpleNamespace, tmp_path: Path) -> None:
    name, client = released(desk), desk.client
    before = tinyfin("registry at --json").stdout
    version = client.get_model_version(name, "1")
    forged = client.create_model_version(name, "file:///nowhere", tags={"tinyfin.pack": "00"})
    client.set_registered_model_alias(name, "production", forged.version)
    client.set_registered_model_alias(name, "champion", forged.version)
    client.set_model_version_tag(name, "1", "tinyfin.standing", "retired")
    client.update_model_version(name, "1", "other words")
    client.log_metric(version.run_id, "gate.cold.all", 0.99)
    (tmp_path / "model.tfpack").write_bytes(b"other")
    client.log_artifact(version.run_id, str(tmp_path / "model.tfpack"))
    (tmp_path / "public.key").write_text("public " + "0" * 64)
    client.log_artifact(version.run_id, str(tmp_path / "public.key"))
    client.delete_run(version.run_id)
    assert tinyfin("registry at --json").stdout == before
    found = mirrored(desk)
    assert sorted(found) == [
        ("corrected", f"{name} alias champion: removed"),
        ("corrected", f"{name} alias production: version 1"),
        ("corrected", f"{name} version 1, artifact model.tfpack"),
        ("corrected", f"{name} version 1, its description"),
        ("corrected", f"{name} version 1, its run was deleted"),
        ("corrected", f"{name} version 1, metric gate.cold.all"),
        ("corrected", f"{name} version 1, tag tinyfin.standing: released"),
        ("foreign", f"{name} version 1, artifact public.key, which is left"),
        ("foreign", f"{name} version 2, which is left"),
    ]
    assert {kind for kind, _ in mirrored(desk)} == {"foreign"}
    client.delete_model_version(name, "1")
    assert ("corrected", f"{name} version 3, pack {desk.pack}") in mirrored(desk)
    assert client.get_model_version_by_alias(name, "production").tags["tinyfin.pack"] == desk.pack
    assert tinyfin("registry at --json").stdout == before


def test_what_goes_wrong_is_an_error(
    desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.record("released")
    said = tinyfin("registry mirror --mlflow http://me:secret@127.0.0.1:9", code=6).output
    assert "127.0.0.1:9" in said
    assert "secret" not in said
    for fleet in ("north 1", "north_1"):
        desk.record("promoted", stage="pilot", fleet=fleet, wave=1)
    assert "rename a fleet" in tinyfin("registry mirror --mlflow", desk.uri, code=3).output
    monkeypatch.setattr(optional_packages.importlib.util, "find_spec", lambda _: None)
    assert "[track]" in tinyfin("registry mirror --mlflow", desk.uri, code=6).output
