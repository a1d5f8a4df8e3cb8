# SPDX-License-Identifier: Apache-2.0
"""A registry's released packs in the model registry of MLflow. The log of our registry alone says
what is true; the mirror is written, compared and corrected."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinyfin.errors import InputError
from tinyfin.registry.export import exported_pack
from tinyfin.registry.registry import Registry
from tinyfin.registry.state import State, replay
from tinyfin.tracking import calling_mlflow, experiment_of, figures, require_tracking

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.tracking import MlflowClient

__all__ = ["Change", "mirror"]

_PACK, _HEAD, _STANDING = "tinyfin.pack", "tinyfin.head", "tinyfin.standing"
_CARD = "MODEL_CARD.md"
_NAMELESS = "tinyfin"
_MOST = 5000
"""Characters of a description that MLflow's databases take."""


@dataclass(frozen=True)
class Change:
    """Something that was written to a mirror, or that is there and not ours."""

    kind: str
    """made, updated; corrected: the mirror was not what it was left as; foreign: not ours, and left
    there."""
    where: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}"


def mirror(registry: Registry, uri: str, name: str | None = None) -> list[Change]:
    """Make the model registry of MLflow at ``uri`` say what our registry says now; what was not so.

    name: of the registered model of all packs; if None, the family of each pack, or `tinyfin`.
    Raises ToolError when MLflow is missing or fails, InputError for two fleets of one alias,
    MismatchError when our log or content is not valid.
    """
    require_tracking("--mlflow")
    released = {
        event.subject.pack: None
        for event in registry.events()
        if event.kind == "released" and event.subject is not None
    }
    models: dict[str, dict[str, dict[str, bytes]]] = {}
    for pack in released:
        found = exported_pack(registry, registry.log.state.entries[pack])
        held = {file.name: registry.store.read(file.digest) for file in found.files}
        models.setdefault(name or found.config.family or _NAMELESS, {})[pack] = held
    changes: list[Change] = []
    with calling_mlflow(uri):
        for model, packs in models.items():
            changes += _Mirror(registry, uri, model, packs).write()
    return changes


class _Mirror:
    """One registered model. ``packs``: by pack id the files that are kept with each."""

    def __init__(
        self, registry: Registry, uri: str, name: str, packs: Mapping[str, dict[str, bytes]]
    ) -> None:
        from mlflow.tracking import MlflowClient

        self.client: MlflowClient = MlflowClient(uri, registry_uri=uri)
        self.uri, self.name, self.packs = uri, name, packs
        self.now = registry.log.state
        model = self._model()
        seen = next(
            (e for e in registry.events() if f"{e.number}:{e.digest}" == model.tags.get(_HEAD)),
            None,
        )
        known = registry.events()[: seen.number] if seen else ()
        self.then = replay(known, "", "")
        """What our registry said when the mirror was written last."""

    def _model(self) -> RegisteredModel:
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return self.client.create_registered_model(self.name)

    def write(self) -> Iterator[Change]:
        """Write what differs, the head of our log last."""
        versions: dict[str, ModelVersion] = {}
        for one in self.client.search_model_versions(f"name = '{self.name}'"):
            pack = one.tags.get(_PACK, "")
            if pack in self.packs and pack not in versions:
                versions[pack] = one
            else:
                yield Change("foreign", f"{self.name} version {one.version}, which is left")
        for pack, held in self.packs.items():
            if pack not in versions:
                versions[pack] = self._made(pack)
                entry = self.then.entries.get(pack)
                kind = "corrected" if entry and entry.released else "made"
                yield Change(kind, f"{self._where(versions[pack])}, pack {pack}")
            yield from self._run(versions[pack], held)
            yield from self._fields(versions[pack], pack, held)
        yield from self._aliases(versions)
        self.client.set_registered_model_tag(self.name, _HEAD, _head(self.now))

    def _made(self, pack: str) -> ModelVersion:
        experiment = experiment_of(self.client, self.uri)
        run = self.client.create_run(experiment, run_name=pack, tags={_PACK: pack}).info
        self.client.set_terminated(run.run_id)
        assert run.artifact_uri is not None
        return self.client.create_model_version(
            self.name, run.artifact_uri, run.run_id, tags={_PACK: pack}
        )

    def _fields(
        self, version: ModelVersion, pack: str, held: Mapping[str, bytes]
    ) -> Iterator[Change]:
        card = held.get(_CARD, b"").decode(errors="replace")
        if len(card) > _MOST:
            rest = f"\n\n(The rest is in {_CARD}, an artifact of the run.)"
            card = card[: _MOST - len(rest)] + rest
        if (version.description or "") != card:
            self.client.update_model_version(self.name, version.version, card)
            if version.description is not None:
                yield Change("corrected", f"{self._where(version)}, its description")
        before = self.then.entries.get(pack)
        wanted = {_STANDING: self.now.entries[pack].standing, _HEAD: _head(self.now)}
        left = {_STANDING: before.standing, _HEAD: _head(self.then)} if before else {}
        for tag, value in wanted.items():
            found = version.tags.get(tag)
            if found != value:
                self.client.set_model_version_tag(self.name, version.version, tag, value)
                if found is not None or tag in left:
                    kind = "updated" if found == left.get(tag) else "corrected"
                    yield Change(kind, f"{self._where(version)}, tag {tag}: {value}")

    def _run(self, version: ModelVersion, held: Mapping[str, bytes]) -> Iterator[Change]:
        from mlflow.entities import Metric

        assert version.run_id is not None
        run = self.client.get_run(version.run_id)
        if run.info.lifecycle_stage == "deleted":
            self.client.restore_run(version.run_id)
            yield Change("corrected", f"{self._where(version)}, its run was deleted")
        new = version.tags.get(_HEAD) is None
        documents = (json.loads(held.get(f, b"{}")) for f in ("metrics.json", "evaluation.json"))
        for name, value in figures(*documents):
            if run.data.metrics.get(name) != value:
                known = self.client.get_metric_history(version.run_id, name)
                step = 1 + max((one.step for one in known), default=-1)
                metric = Metric(name, value, run.info.start_time, step)
                self.client.log_batch(version.run_id, metrics=[metric])
                if not new:
                    yield Change("corrected", f"{self._where(version)}, metric {name}")
        there = {one.path for one in self.client.list_artifacts(version.run_id)}
        for name in sorted(there - {*held}):
            yield Change("foreign", f"{self._where(version)}, artifact {name}, which is left")
        with tempfile.TemporaryDirectory() as folder:
            for name, data in held.items():
                if name in there:
                    copy = self.client.download_artifacts(version.run_id, name, folder)
                    if Path(copy).read_bytes() == data:
                        continue
                place = Path(folder) / name
                place.unlink(missing_ok=True)
                place.write_bytes(data)
                self.client.log_artifact(version.run_id, str(place))
                if not new:
                    yield Change("corrected", f"{self._where(version)}, artifact {name}")

    def _aliases(self, versions: Mapping[str, ModelVersion]) -> Iterator[Change]:
        found = {alias: str(at) for alias, at in self._model().aliases.items()}
        numbers = {pack: str(version.version) for pack, version in versions.items()}
        wanted, left = (
            {alias: numbers[pack] for alias, pack in _places(state).items() if pack in numbers}
            for state in (self.now, self.then)
        )
        for alias in sorted({*found, *wanted}):
            is_, to = found.get(alias), wanted.get(alias)
            if is_ == to:
                continue
            if to is None:
                self.client.delete_registered_model_alias(self.name, alias)
            else:
                self.client.set_registered_model_alias(self.name, alias, to)
            kind = "updated" if is_ == left.get(alias) else "corrected"
            yield Change(kind, f"{self.name} alias {alias}: {f'version {to}' if to else 'removed'}")

    def _where(self, version: ModelVersion) -> str:
        return f"{self.name} version {version.version}"


def _head(state: State) -> str:
    return f"{state.number}:{state.head}"


def _places(state: State) -> dict[str, str]:
    """Packs by alias: the stage, and the fleet if there is one."""
    found: dict[str, str] = {}
    for place in state.places.values():
        name = f"{place.stage}-{place.fleet}" if place.fleet else place.stage
        alias = re.sub("[^A-Za-z0-9_-]", "_", name)
        if alias in found:
            raise InputError(f"two places have the alias {alias} in MLflow; rename a fleet")
        found[alias] = place.pack
    return found
