# SPDX-License-Identifier: Apache-2.0
"""The JSON files of a run hold what their types say, no more and no less, in every version."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.cli import tinyfin
from tinyfin import paths
from tinyfin.errors import InputError
from tinyfin.evaluation.gates import load_gate, require_known
from tinyfin.results import facts
from tinyfin.results.evaluation import Evaluation
from tinyfin.results.facts import IncompleteError, ResultFile
from tinyfin.results.metrics import Metrics
from tinyfin.results.parity import Parity
from tinyfin.results.run import MapsFile, RunFacts
from tinyfin.results.trials import Cost, Trial, Trials
from tinyfin.training.run_folder import RunFolder

ROOT = paths.project_dir()
FILES = (RunFacts, MapsFile, Metrics, Parity, Evaluation)


@pytest.fixture(scope="module")
def schemas() -> ModuleType:
    spec = importlib.util.spec_from_file_location("schemas", ROOT / ".ci" / "schemas.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_schemas_in_the_docs_are_current(schemas: ModuleType) -> None:
    assert {path.name for path in schemas.FOLDER.iterdir()} == {k.NAME for k in schemas.KINDS}
    for kind in schemas.KINDS:
        committed = (schemas.FOLDER / kind.NAME).read_text(encoding="utf-8")
        assert committed == schemas.schema_text(kind), "run .ci/schemas.py"
        assert f"schemas/{kind.NAME}" in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_a_key_that_changes_changes_a_schema(schemas: ModuleType) -> None:
    """The control of the test above, for a key of each kind: a name of Python's, and an alias."""

    class Renamed(Metrics):
        thinned_rows: int = 0

    assert schemas.schema_text(Renamed) != schemas.schema_text(Metrics)
    text = (schemas.FOLDER / Metrics.NAME).read_text(encoding="utf-8")
    for key in facts._KEYS.values():
        found = (schemas.FOLDER / kind.NAME for kind in schemas.KINDS)
        assert any(f'"{key}": {{' in path.read_text(encoding="utf-8") for path in found), key
    assert "recall_at_0_1_percent" not in text


def test_reading_and_writing_loses_nothing(judged: Path, tmp_path: Path) -> None:
    run, copy = RunFolder(judged), RunFolder(tmp_path)
    for kind in FILES:
        copy.write(run.read(kind))
        assert copy.read_json(kind.NAME) == run.read_json(kind.NAME)
    fold = next((judged / "evaluation" / "prequential").iterdir())
    assert RunFolder(fold).read(Parity).plan.differing_bytes == 0


def test_files_from_before_there_were_versions_are_read(judged: Path, tmp_path: Path) -> None:
    for kind in FILES:
        found = RunFolder(judged).read_json(kind.NAME)
        assert found.pop("schema_version") == kind.VERSION
        (tmp_path / kind.NAME).write_text(json.dumps(found))
        assert RunFolder(tmp_path).read(kind).as_json()["schema_version"] == kind.VERSION


@pytest.mark.parametrize("kind", FILES)
def test_a_newer_schema_is_refused_with_both_versions(kind: type[ResultFile]) -> None:
    newer = {"schema_version": kind.VERSION + 1}
    with pytest.raises(InputError, match=rf"x\.json: has schema version 2,.* up to {kind.VERSION}"):
        kind.parse(newer, "x.json")


def test_what_is_missing_is_named(small: dict[str, Path]) -> None:
    found = RunFolder(small["run"]).read_json("run.json")
    del found["split"]["until"]
    with pytest.raises(IncompleteError, match=r"x\.json: split\.until: field required; .* again"):
        RunFacts.parse(found, "x.json")


def test_a_command_says_so_of_a_run(run_copy: Path) -> None:
    found = json.loads((run_copy / "run.json").read_text())
    (run_copy / "run.json").write_text(json.dumps({**found, "schema_version": 7}))
    answer = tinyfin("quantize", run_copy, code=3)
    assert re.search(r"run\.json: has schema version 7, and this tinyfin reads", answer.output)


def test_trials_are_read_as_they_were_written(tmp_path: Path) -> None:
    trial = Trial(1, {"hidden": [3]}, Cost(1, 2, None), ("flash 2 of 1",), None)
    RunFolder(tmp_path).write(Trials(best=1, trials=[trial]))
    assert RunFolder(tmp_path).read(Trials).trials == [trial]


# ------------------------------------------------------------------------------------------- gates


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("means.all.model_int8.avrage_precision", "did you mean 'average_precision'"),
        ("means.al.model_int8.roc_auc", "did you mean 'all'"),
        ("means.all.model_int8.recall_at_0.2%", "did you mean 'recall_at_0.1%'"),
        ("int8_los.all", "did you mean 'int8_loss'"),
        ("means.all.model_int8", "is no number"),
        ("pooled.slices.recall", "'recall' is no figure"),
    ],
)
def test_a_misspelt_figure_is_refused_before_the_evaluation(
    small: dict[str, Path], tmp_path: Path, key: str, told: str
) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text(f'[gate]\n"{key}" = {{min = 0.5}}\n')
    answer = tinyfin("evaluate", small["run"], "--gate", gate, code=3)
    assert f"gate.toml: gate.'{key}'" in answer.output
    assert told in answer.output


def test_every_gate_here_names_figures() -> None:
    gates = [*ROOT.glob("models/**/gate.toml")]
    assert gates
    for path in gates:
        require_known(path, load_gate(path))
    figures = {
        "means.all.model_int8.recall_at_0.1%": {"min": 0.0},
        "means.all.model_int8.scenario_recall_at_0.1%.a.b.recall": {"min": 0.0},
        "prevalence": {"min": 0.0},
    }
    require_known("gate.toml", figures)
