# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: everything that a later command needs, and what a person wants to know.

config.toml       the configuration as it was written (empty: all defaults), learned cuts added
asked.toml        without those cuts, where there are any
run.json          name, data and its fingerprint, split, features, family, seeds, versions
program.bin       the feature program
maps.json         the input maps
model.keras       the float network
slices.npz        int8 inputs, labels and scores of the rows that quantize needs
reference.json    bins of inputs, fields and scores of the training, for tinyfin monitor
metrics.json      float model, int8 model (after quantize), rules and baselines, same rows
plots/*.svg       scores, precision and recall, calibration
model.tflite      after quantize
model.tfpack      after quantize
parity.json       after quantize: what was compared with what
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from tinyfin import files, progress
from tinyfin.data.dvc import tracked
from tinyfin.data.memory_tables import shown_name
from tinyfin.errors import BudgetError, InputError, ModelError, TinyfinError
from tinyfin.output_claims import claimed
from tinyfin.pack.maps import InputMap
from tinyfin.results.facts import ResultFile
from tinyfin.results.metrics import DecisionFacts, Metrics
from tinyfin.results.run import DvcFacts, InputFile, MapRow, MapsFile, RunFacts

if TYPE_CHECKING:
    from tinyfin.config import Config
    from tinyfin.config.sections import Compromise, Risk

__all__ = [
    "Arrays",
    "RunFolder",
    "Slices",
    "begin_run",
    "changing_run",
    "checked_path",
    "making_run",
    "new_run",
    "open_run",
]

Arrays = dict[str, npt.NDArray[Any]]
Slices = Mapping[str, npt.NDArray[Any]]
"""Arrays by name, of various types: those of ``slices.npz``."""

_File = TypeVar("_File", bound=ResultFile)

_ASKED = "asked.toml"
_FOUND = re.compile(r"^\[model\.found\]\n(?:[^\[\n].*\n)*", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True)
class RunFolder:
    """Paths and readers of a run's files."""

    path: Path
    place: Path | None = None
    """Where the folder will be, while it is made or changed elsewhere."""

    @property
    def shown(self) -> Path:
        """The folder as people know it."""
        return self.place or self.path

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return self.shown.name

    @property
    def pack(self) -> Path:
        """The signed pack, after quantize."""
        return self.path / "model.tfpack"

    @property
    def tflite(self) -> Path:
        """The int8 network, after quantize."""
        return self.path / "model.tflite"

    def seen(self, path: str) -> str:
        """A path as it will be found later, if it leads into the folder."""
        inside = Path(path).is_relative_to(self.path)
        return str(self.shown / Path(path).relative_to(self.path)) if inside else path

    def file(self, name: str) -> Path:
        """A file of the folder; ModelError if it is not there."""
        found = self.path / name
        if not found.is_file():
            later = ("model.tfpack", "model.tflite", "parity.json")
            verb = "quantize" if name in later else "train"
            raise ModelError(f"{self.path}: {name} is missing; make it with `tinyfin {verb}`")
        return found

    def read_json(self, name: str) -> dict[str, object]:
        """One of the folder's JSON files. Raises ModelError if it is missing or damaged."""
        path = self.file(name)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ModelError(
                f"{path}: is not JSON ({error}); copy the run again, or train it again"
            ) from error
        if not isinstance(found, dict):
            raise ModelError(f"{path}: holds no JSON object; copy the run again")
        return found

    def read(self, kind: type[_File]) -> _File:
        """One of the folder's results. Raises ModelError if it is missing, damaged or newer."""
        return kind.parse(self.read_json(kind.NAME), str(self.path / kind.NAME))

    def facts(self) -> RunFacts:
        """``run.json``."""
        return self.read(RunFacts)

    def quantized(self) -> tuple[Metrics, DecisionFacts]:
        """``metrics.json``, and what it says of the pack. Raises ModelError if there is no pack."""
        metrics = self.read(Metrics)
        if metrics.decision is None:
            raise ModelError(
                f"{self.path}: metrics.json knows no pack; run `tinyfin quantize` first"
            )
        return metrics, metrics.decision

    def write(self, content: ResultFile) -> None:
        """Write one of the folder's results."""
        self.write_json(content.NAME, content.as_json())

    def write_json(self, name: str, content: Mapping[str, object]) -> None:
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

    def add_learned(
        self,
        cuts: Mapping[str, int],
        risks: Mapping[str, Risk],
        compromise: Compromise | None = None,
    ) -> None:
        """Write what training learned of features into the run's configuration: [features.cuts],
        [features.risks] and [features.compromise]."""
        if not cuts and not risks and compromise is None:
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
        if compromise is not None:
            rows = "".join(
                f"{name} = {_toml_value(x)}\n" for name, x in compromise.model_dump().items()
            )
            text += f"\n\n[features.compromise]\n{rows}"
        files.write(path, text.lstrip())

    def add_features(
        self,
        names: str | Sequence[str] | None,
        capacities: Mapping[str, int],
        define: Mapping[str, Mapping[str, object]],
    ) -> None:
        """Write features and capacities that the data has chosen into the run's configuration:
        [features.found], and a table for each feature that was defined on the way. ``names`` None:
        the configuration's stay."""
        listed = ""
        if isinstance(names, str):
            listed = f"names = {json.dumps(names)}\n"
        elif names is not None:
            listed = "names = [\n" + "".join(f"  {json.dumps(name)},\n" for name in names) + "]\n"
        listed += "".join(f"{key} = {value}\n" for key, value in capacities.items())
        tables = "".join(
            f"\n[features.{name}]\n" + "".join(f"{k} = {_toml_value(x)}\n" for k, x in rows.items())
            for name, rows in define.items()
        )
        path = self.file("config.toml")
        text = path.read_text(encoding="utf-8").rstrip()
        files.write(path, f"{text}\n\n[features.found]\n{listed}{tables}".lstrip())

    def add_model(self, found: Mapping[str, object]) -> None:
        """Write what training or a search found into the run's configuration: [model.found], in
        the place of an earlier one."""
        rows = "".join(f"{key} = {_toml_value(value)}\n" for key, value in found.items())
        path = self.file("config.toml")
        text = _FOUND.sub("", path.read_text(encoding="utf-8"))
        files.write(path, f"{text.rstrip()}\n\n[model.found]\n{rows}".lstrip())

    def maps(self) -> tuple[InputMap, ...]:
        """The input maps, in feature order."""
        return tuple(InputMap(row.x, row.y) for row in self.read(MapsFile).maps)

    def write_maps(self, maps: Sequence[InputMap], names: Sequence[str]) -> None:
        """Write ``maps.json``."""
        rows = [MapRow(feature=name, x=m.x, y=m.y) for name, m in zip(names, maps, strict=True)]
        self.write(MapsFile(maps=rows))

    def write_arrays(self, name: str, arrays: Slices) -> None:
        """Write a ``.npz``."""
        with files.whole(self.path / name) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its own keywords

    def slices(self, *names: str) -> Arrays:
        """Arrays of ``slices.npz``: those of the names, or all."""
        with np.load(self.file("slices.npz")) as arrays:
            return {name: arrays[name] for name in names or arrays.files}

    def pack_bytes(self) -> bytes:
        """The pack; ModelError if the run has none yet."""
        return self.file("model.tfpack").read_bytes()


def new_run(out: str | Path, name: str, config: Config) -> RunFolder:
    """Make the folder ``out/name``; InputError if a run of that name is there."""
    path = _free_path(out, name)
    path.mkdir(parents=True, exist_ok=True)
    return begin_run(RunFolder(path), config)


@contextmanager
def making_run(out: str | Path, name: str, config: Config) -> Iterator[RunFolder]:
    """A new run to fill in a ``with`` block, whose end puts it at ``out/name``; the name is claimed
    meanwhile. A BudgetError keeps what says why nothing fits; any other exception leaves nothing.

    Raises InputError if a run of that name is there, or is being made.
    """
    path = checked_path(out, name)
    with (
        claimed(path, make_folder=True),
        files.folder(_free_path(out, name), keep=(BudgetError,)) as made,
    ):
        yield begin_run(RunFolder(made, path), config)


@contextmanager
def changing_run(
    run: RunFolder, *, keep: tuple[type[TinyfinError], ...] = ()
) -> Iterator[RunFolder]:
    """A copy of ``run`` to change in a ``with`` block, as :func:`tinyfin.files.folder` does."""
    with files.folder(run.path, keep=keep) as made:
        yield RunFolder(made, run.shown)


def checked_path(out: str | Path, name: str) -> Path:
    """The folder of the run ``name``. Raises InputError for what is no name."""
    if not _NAME.match(name):
        raise InputError(
            f"run name {name!r}: use letters, digits, '.', '_' and '-', at most 64, a letter or "
            "digit first"
        )
    return Path(out) / name


def _free_path(out: str | Path, name: str) -> Path:
    path = checked_path(out, name)
    if (path / "run.json").exists():
        raise InputError(f"{path}: there is a run of that name; choose another or remove it")
    return path


def begin_run(run: RunFolder, config: Config) -> RunFolder:
    """Put the configuration into the folder of a new run."""
    (run.path / "plots").mkdir(exist_ok=True)
    text = config.path.read_text(encoding="utf-8") if config.path is not None else ""
    files.write(run.path / "config.toml", text)
    return run


def open_run(path: RunFolder | str | Path) -> RunFolder:
    """The run in a folder; ModelError if it is none. An open one is returned as it is."""
    if isinstance(path, RunFolder):
        return path
    folder = RunFolder(Path(path))
    if not folder.path.is_dir():
        raise ModelError(f"{path}: there is no such run folder; make one with `tinyfin train`")
    folder.file("run.json")
    return folder


def file_facts(paths: Sequence[str | Path]) -> list[InputFile]:
    """Of input files what :func:`one_file` says. A file that differs from what DVC has of it is
    named on stderr."""
    facts = [one_file(path) for path in paths]
    for path, fact in zip(paths, facts, strict=True):
        if fact.dvc is not None and fact.dvc.matches is False:
            progress.say(
                f"WARNING: {path}: differs from what {fact.dvc.file} says; run `dvc checkout` for "
                "that content, or `dvc commit` for this one"
            )
    return facts


def one_file(path: str | Path) -> InputFile:
    """Name, path as given, size and SHA-256 of a file, and what DVC has of it; the path of a table
    in memory is "table". Raises OSError, InputError for a file of DVC that is none."""
    path = Path(path)
    digest, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            md5.update(chunk)
    found = tracked(path, md5.hexdigest())
    return InputFile(
        name=path.name,
        path=shown_name(path),
        bytes=path.stat().st_size,
        sha256=digest.hexdigest(),
        dvc=None if found is None else DvcFacts(file=found[0], md5=found[1], matches=found[2]),
    )


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml_value(x)}" for key, x in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value)


def _plain(value: object) -> object:
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
