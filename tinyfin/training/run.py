# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: everything that a later verb needs, and what a person wants to know.

    config.toml       the configuration as it was written (empty: all defaults), learned cuts added
    asked.toml        without those cuts, where there are any
    run.json          name, data and its fingerprint, split, features, family, seeds, versions
    program.bin       the feature program
    maps.json         the input maps
    model.keras       the float network
    slices.npz        int8 inputs, labels and scores of the rows that quantize needs
    metrics.json      float model, int8 model (after quantize), rules and baselines, same rows
    plots/*.png       scores, precision and recall, calibration
    model.tflite      after quantize
    model.tfpack      after quantize
    parity.json       after quantize: what was compared with what
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.errors import InputError, ModelError
from tinyfin.pack.maps import InputMap

if TYPE_CHECKING:
    from tinyfin.config import Config
    from tinyfin.config.sections import Risk

__all__ = ["RunFolder", "new_run", "open_run"]

_ASKED = "asked.toml"
_FOUND = re.compile(r"^\[model\.found\]\n(?:[^\[\n].*\n)*", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class RunFolder:
    """Paths and readers of a run's files."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return self.path.name

    @property
    def pack(self) -> Path:
        """The signed pack, after quantize."""
        return self.path / "model.tfpack"

    @property
    def tflite(self) -> Path:
        """The int8 network, after quantize."""
        return self.path / "model.tflite"

    def file(self, name: str) -> Path:
        """A file of the folder; ModelError if it is not there."""
        found = self.path / name
        if not found.is_file():
            later = ("model.tfpack", "model.tflite", "parity.json")
            verb = "quantize" if name in later else "train"
            raise ModelError(f"{self.path}: {name} is missing; make it with `tinyfin {verb}`")
        return found

    def read_json(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files. Raises ModelError if it is damaged."""
        path = self.file(name)
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(
                f"{path}: is not JSON ({error}); copy the run again, or train it again"
            ) from error
        return found

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file, keys sorted; a NaN becomes null."""
        text = json.dumps(_plain(content), indent=2, sort_keys=True, ensure_ascii=False)
        files.write(self.path / name, text + "\n")

    def config(self) -> Config:
        """The configuration the run was made with."""
        from tinyfin.config import load

        return load(self.file("config.toml"))

    def asked(self) -> Config:
        """The configuration without what this run learned of features: what another time may
        learn."""
        from tinyfin.config import load

        asked = self.path / _ASKED
        return load(asked) if asked.is_file() else self.config()

    def add_learned(self, cuts: Mapping[str, int], risks: Mapping[str, Risk]) -> None:
        """Write what training learned of features into the run's configuration: [features.cuts]
        and [features.risks]."""
        if not cuts and not risks:
            return
        path = self.file("config.toml")
        text = path.read_text(encoding="utf-8")
        files.write(self.path / _ASKED, text)
        text = text.rstrip()
        if cuts:
            rows = "".join(f"{name} = {cut}\n" for name, cut in cuts.items())
            text += f"\n\n[features.cuts]\n{rows}"
        if risks:
            rows = "".join(
                f"{name} = {_toml_value(risk.model_dump())}\n" for name, risk in risks.items()
            )
            text += f"\n\n[features.risks]\n{rows}"
        files.write(path, text.lstrip())

    def add_features(self, names: Sequence[str], define: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the features that "auto" has chosen into the run's configuration:
        [features.found], and a table for each that was defined on the way."""
        listed = "".join(f"  {json.dumps(name)},\n" for name in names)
        tables = "".join(
            f"\n[features.{name}]\n" + "".join(f"{k} = {_toml_value(x)}\n" for k, x in rows.items())
            for name, rows in define.items()
        )
        path = self.file("config.toml")
        text = path.read_text(encoding="utf-8").rstrip()
        files.write(path, f"{text}\n\n[features.found]\nnames = [\n{listed}]\n{tables}".lstrip())

    def add_model(self, found: Mapping[str, Any]) -> None:
        """Write what training or a search found into the run's configuration: [model.found], in
        the place of an earlier one."""
        rows = "".join(f"{key} = {_toml_value(value)}\n" for key, value in found.items())
        path = self.file("config.toml")
        text = _FOUND.sub("", path.read_text(encoding="utf-8"))
        files.write(path, f"{text.rstrip()}\n\n[model.found]\n{rows}".lstrip())

    def maps(self) -> tuple[InputMap, ...]:
        """The input maps, in feature order."""
        rows = self.read_json("maps.json")["maps"]
        return tuple(InputMap(tuple(row["x"]), tuple(row["y"])) for row in rows)

    def write_maps(self, maps: Sequence[InputMap], names: Sequence[str]) -> None:
        """Write ``maps.json``."""
        rows = [
            {"feature": name, "x": list(m.x), "y": list(m.y)}
            for name, m in zip(names, maps, strict=True)
        ]
        self.write_json("maps.json", {"maps": rows})

    def slices(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays of ``slices.npz``."""
        with np.load(self.file("slices.npz")) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def pack_bytes(self) -> bytes:
        """The pack; ModelError if the run has none yet."""
        return self.file("model.tfpack").read_bytes()


def new_run(out: str | Path, name: str, config: Config) -> RunFolder:
    """Make the folder ``out/name``; InputError if a run of that name is there."""
    if not _NAME.match(name):
        raise InputError(
            f"run name {name!r}: use letters, digits, '.', '_' and '-', at most 64, a letter or "
            "digit first"
        )
    path = Path(out) / name
    if (path / "run.json").exists():
        raise InputError(f"{path}: there is a run of that name; choose another or remove it")
    (path / "plots").mkdir(parents=True, exist_ok=True)
    text = config.path.read_text(encoding="utf-8") if config.path is not None else ""
    files.write(path / "config.toml", text)
    return RunFolder(path)


def open_run(path: str | Path) -> RunFolder:
    """The run in a folder; ModelError if it is none."""
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise ModelError(f"{path}: there is no such run folder; make one with `tinyfin train`")
    folder.file("run.json")
    return folder


def file_facts(paths: Sequence[str | Path]) -> list[dict[str, Any]]:
    """Name, path as given, size and SHA-256 of input files."""
    facts = []
    for path in map(Path, paths):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        facts.append(
            {"name": path.name, "path": str(path), "bytes": path.stat().st_size,
             "sha256": digest.hexdigest()}
        )
    return facts


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml_value(x)}" for key, x in value.items()) + "}"
    return json.dumps(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (np.integer, np.floating)):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
