# SPDX-License-Identifier: Apache-2.0
"""From a run to its pack and to scores: bytes, order, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from tests.support.cli import tinyfin
from tests.support.process import call, tinyfin_process
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.errors import MismatchError, ModelError
from tinyfin.pack.container import parse_pack
from tinyfin.pack.signing import Key, sign
from tinyfin.quantization import workflow
from tinyfin.quantization.workflow import assemble
from tinyfin.training.run_folder import RunFolder, open_run
from tinyfin.training.scoring import score
from tinyfin.twin import Replay, Twin


def test_network_equals_tflm_and_int8_stays_near_float(small: dict[str, Path]) -> None:
    report = json.loads((small["run"] / "parity.json").read_text())
    assert report["plan"]["differing_bytes"] == 0
    assert report["rows"] >= 2000
    metrics = json.loads((small["run"] / "metrics.json").read_text())["populations"]["all"]
    a, b = metrics["model_float"], metrics["model_int8"]
    assert abs(a["average_precision"] - b["average_precision"]) < 0.03
    assert {"amount", "rule_a", "rule_b"} <= set(metrics)


def test_a_byte_that_differs_from_tflm_is_refused(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = workflow.compare_with_oracle

    def lying(
        network: object, path: Path, rows: np.ndarray, native: object, *interpreter: object
    ) -> object:
        return honest(network, path, rows, lambda x: native(x) ^ np.int8(1), *interpreter)  # type: ignore[operator, arg-type]

    monkeypatch.setattr(workflow, "compare_with_oracle", lying)
    with pytest.raises(MismatchError, match="differ from TFLM"):
        workflow.quantize(open_run(run_copy))


def test_the_pack_of_a_tflite_is_the_same_bytes_every_time(small: dict[str, Path]) -> None:
    run = open_run(small["run"])
    facts, slices = run.facts(), run.slices()
    again = assemble(run, run.tflite.read_bytes(), facts, slices)
    assert again.pack == run.pack_bytes()


def test_one_pack_is_signed(small: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[bytes] = []

    def once(message: bytes, key: Key) -> bytes:
        signed.append(message)
        return sign(message, key)

    monkeypatch.setattr("tinyfin.pack.container.sign", once)
    run = open_run(small["run"])
    made = assemble(run, run.tflite.read_bytes(), run.facts(), run.slices())
    assert [made.pack[: len(message)] for message in signed] == signed
    assert len(signed) == 1


def test_table_spans_what_the_network_can_give(small: dict[str, Path]) -> None:
    pack = parse_pack(open_run(small["run"]).pack_bytes())
    assert pack.calibration is not None
    rng = np.random.default_rng(0)
    wild = rng.choice([-128, 127], (4000, len(pack.maps or ()))).astype(np.int8)
    raw = Twin(pack.data).infer(wild)[1]
    assert pack.calibration.raw[0] <= raw.min()
    assert raw.max() <= pack.calibration.raw[-1]


def test_thresholds_keep_the_budget_where_they_were_set(small: dict[str, Path]) -> None:
    decision = json.loads((small["run"] / "metrics.json").read_text())["decision"]
    assert decision["calibration"]["false_alerts_per_1000"] <= 1.0
    assert decision["decline"] is None


def test_same_seed_same_weights(small: dict[str, Path], tmp_path: Path) -> None:
    # a process of its own, as a second run of the command would be
    out = tmp_path / "runs"
    line = f"train {small['data']} --config {small['config']} --out {out} --name small"
    tinyfin_process(line, deadline_s=240)
    first = json.loads((small["run"] / "run.json").read_text())
    second = json.loads((out / "small" / "run.json").read_text())
    assert first["model"]["weights_sha256"] == second["model"]["weights_sha256"]
    assert first["data"]["fingerprint"] == second["data"]["fingerprint"]


@pytest.mark.parametrize("layer", ["ELU", "PReLU"])
def test_an_operator_the_plan_does_not_know_is_refused_by_name(run_copy: Path, layer: str) -> None:
    from tinyfin.training.reproducible import tensorflow

    tf = tensorflow(1)
    width = len(open_run(run_copy).read_json("run.json")["features"]["names"])
    inputs = tf.keras.Input((width,))
    x = tf.keras.layers.Dense(4)(inputs)
    x = getattr(tf.keras.layers, layer)()(x)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(x))
    model.save(run_copy / "model.keras")
    result = tinyfin(f"quantize {run_copy} --json", code=3)
    assert layer.upper() in result.output


def at_once(run: RunFolder, data: Path) -> Replay:
    """The pack's answers to one run over all rows."""
    tx = read([data], run.config())
    return Twin(run.pack_bytes(), terminals=len(tx.terminals)).run(
        tx, event_stream(tx, run.config().data.notices)
    )


def test_score_keeps_the_input_order_and_leaves_warmup_out(
    small: dict[str, Path], tmp_path: Path
) -> None:
    whole = pq.read_table(small["data"])
    cut = whole.num_rows * 2 // 3
    shuffled = np.random.default_rng(0).permutation(np.arange(cut, whole.num_rows))
    pq.write_table(whole.slice(0, cut), tmp_path / "early.parquet")
    pq.write_table(whole.take(pa.array(shuffled)), tmp_path / "late.parquet")
    line = f"score {small['run']} {tmp_path}/late.parquet --warmup {tmp_path}/early.parquet"
    tinyfin(f"{line} --out {tmp_path}/out.parquet --json")
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.column("input_row").to_pylist() == list(range(len(shuffled)))
    straight = at_once(open_run(small["run"]), small["data"])
    np.testing.assert_array_equal(out["score_q32"].to_numpy(), straight.score_q32[shuffled])
    np.testing.assert_array_equal(out["raw"].to_numpy(), straight.raw[shuffled])
    assert set(out.column("action").to_pylist()) <= {"accept", "go_online", "decline"}
    alerted = np.array([a != "accept" for a in out.column("action").to_pylist()])
    reasons = np.array([len(r) for r in out.column("reasons").to_pylist()])
    assert np.all(reasons[~alerted] == 0)
    assert np.any(reasons[alerted] > 0)
    cold = tmp_path / "cold.parquet"
    score(open_run(small["run"]), [tmp_path / "late.parquet"], cold)
    assert np.any(pq.read_table(cold)["raw"].to_numpy() != straight.raw[shuffled])


def test_a_file_from_before_the_labels_is_scored_as_one_of_empty_labels(
    small: dict[str, Path], tmp_path: Path
) -> None:
    whole = pq.read_table(small["data"]).slice(0, 3000)
    early, late = whole.slice(0, 2000), whole.slice(2000)
    at = late.column_names.index("label")
    empty = late.set_column(at, "label", pa.nulls(len(late), late.schema.field(at).type))
    mapping = tmp_path / "mapping.toml"
    names = set(late.column_names) - {"label_time", "scenario", "simulator"}
    mapping.write_text("[data]\n" + "".join(f'{name} = "{name}"\n' for name in sorted(names)))
    found = {}
    for name, table in {"empty": empty, "absent": late.drop_columns(["label"])}.items():
        pq.write_table(early, tmp_path / "early.parquet")
        pq.write_table(table, tmp_path / f"{name}.parquet")
        out = tmp_path / f"{name}_scores.parquet"
        score(
            open_run(small["run"]),
            [tmp_path / f"{name}.parquet"],
            out,
            warmup=[tmp_path / "early.parquet"],
            config_path=mapping,
        )
        found[name] = out.read_bytes()
    assert found["empty"] == found["absent"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_scores_in_pieces_are_the_same_bytes(
    small: dict[str, Path], tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pq.read_table(small["data"])
    cut = whole.num_rows // 2
    files = [tmp_path / f"early.{form}", tmp_path / f"late.{form}"]
    for part, path in zip((whole.slice(0, cut), whole.slice(cut)), files, strict=True):
        pq.write_table(part, path) if form == "parquet" else pacsv.write_csv(part, path)
    run = open_run(small["run"])
    monkeypatch.setattr("tinyfin.training.scoring.GROUP_ROWS", 5000)
    made = []
    for rows in (whole.num_rows, 1777):
        out = tmp_path / f"{rows}.parquet"
        result = score(run, files[1:], out, warmup=files[:1], chunk_rows=rows)
        assert (result["transactions"], result["warmup"]) == (whole.num_rows - cut, cut)
        made.append(out.read_bytes())
    assert made[0] == made[1]
    table = pq.read_table(out)
    straight = at_once(run, small["data"])
    np.testing.assert_array_equal(table["raw"].to_numpy(), straight.raw[cut:])
    np.testing.assert_array_equal(table["flag_bits"].to_numpy(), straight.flags[cut:])
    assert table["input_row"].to_pylist() == list(range(whole.num_rows - cut))
    assert sum(result["actions"].values()) == whole.num_rows - cut


def test_rows_that_were_set_aside_leave_a_gap_in_the_input_rows(
    small: dict[str, Path], tmp_path: Path
) -> None:
    whole = pq.read_table(small["data"]).slice(0, 60)
    pq.write_table(whole.slice(0, 20), tmp_path / "early.parquet")
    late = whole.slice(20, 40)
    amount = late["amount_minor"].to_pylist()
    amount[3] = -5
    at = late.schema.get_field_index("amount_minor")
    late = late.set_column(at, "amount_minor", pa.array(amount, pa.int64()))
    pq.write_table(late, tmp_path / "late.parquet")
    line = f"score {small['run']} {tmp_path}/late.parquet --warmup {tmp_path}/early.parquet"
    line += f" --out {tmp_path}/out.parquet"
    tinyfin(line, code=3)
    tinyfin(line, "--skip-bad-rows", tmp_path / "bad.csv")
    rows = pq.read_table(tmp_path / "out.parquet")["input_row"].to_pylist()
    assert rows == [i for i in range(40) if i != 3]


def test_score_does_without_tensorflow(small: dict[str, Path], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'sklearn'): sys.modules[name] = None\n"
        "from tinyfin.cli import main\n"
        f"main(['score', {str(small['run'])!r}, {str(small['data'])!r}, '--out', "
        f"{str(tmp_path / 'out.parquet')!r}])\n"
    )
    call(sys.executable, "-c", code)
    assert (tmp_path / "out.parquet").is_file()


def test_a_label_that_becomes_known_later_changes_no_weight_and_no_feature(
    small: dict[str, Path], tmp_path: Path
) -> None:
    from tinyfin.config import load, parse_moment
    from tinyfin.training.split import split_by_time

    config = load(small["config"])
    until = parse_moment(json.loads((small["run"] / "run.json").read_text())["split"]["until"])
    tx = read(small["data"], config)
    label = np.where(tx.label_known_s > until, 1 - tx.label, tx.label).astype(np.int8)
    flipped = type(tx)(**{**{k: getattr(tx, k) for k in tx.__dataclass_fields__}, "label": label})
    pack = open_run(small["run"]).pack_bytes()
    parts = []
    for one in (tx, flipped):
        split = split_by_time(one, until_s=until, shares=(0.5, 0.25, 0.25))
        learned = np.concatenate([split.fit, split.validation, split.calibration])
        found = Twin(pack, terminals=len(one.terminals)).run(one, event_stream(one))
        parts.append((learned, found.features[learned], one.label[learned]))
    for a, b in zip(*parts, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(tx.label != flipped.label)


def test_missing_pieces_are_named(tmp_path: Path, run_copy: Path) -> None:
    with pytest.raises(ModelError, match="tinyfin train"):
        open_run(tmp_path / "nothing")
    (run_copy / "model.tfpack").unlink()
    result = tinyfin(f"score {run_copy} {__file__} --out {tmp_path}/x.parquet", code=3)
    assert "tinyfin quantize" in result.output
