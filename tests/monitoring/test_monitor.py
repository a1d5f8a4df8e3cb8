# SPDX-License-Identifier: Apache-2.0
"""A pack on later transactions: what drifts is named, labels count when they are old enough, and
too few rows give no verdict."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score

from tests.support.cli import tinyfin
from tests.support.process import call
from tinyfin import monitor
from tinyfin.results.monitor import ColumnDrift, Monitoring
from tinyfin.results.reference import Reference
from tinyfin.training import drift as drift_of
from tinyfin.training.bootstrap import wilson
from tinyfin.training.run_folder import open_run

AS_OF = "2026-01-01"
"""Long after the last transaction: every label is known and old enough."""
DAY_S = 86_400


def changed(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.schema.names.index(name), name, column)


@pytest.fixture(scope="module")
def worlds(small: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The test rows of the small run as files: as they are, with amounts in another unit (a pack
    that was carried to where it does not belong), without labels; and all rows before them."""
    folder = tmp_path_factory.mktemp("worlds")
    table = pq.read_table(small["data"])
    until = dt.datetime.fromisoformat(open_run(small["run"]).facts().split.until)
    cut = pa.scalar(until, table.schema.field("time").type)
    late = table.filter(pc.greater_equal(table["time"], cut))
    made = {
        "early": table.filter(pc.less(table["time"], cut)),
        "late": late,
        "dear": changed(late, "amount_minor", pc.multiply(late["amount_minor"], 5)),
        "bare": late.drop_columns(["label", "scenario"]),
        "few": late.slice(0, 400),
    }
    for name, part in made.items():
        pq.write_table(part, folder / f"{name}.parquet")
    return {name: folder / f"{name}.parquet" for name in made}


@pytest.fixture
def look(small: dict[str, Path], worlds: dict[str, Path], tmp_path: Path) -> Callable[..., Any]:
    """Run the verb on a world; what it wrote."""

    def looked(world: str, *words: object, code: int = 0, run: Path | None = None) -> Monitoring:
        out = tmp_path / "out"
        arguments = [run or small["run"], worlds[world], "--warmup", worlds["early"], "--out", out]
        tinyfin("monitor", *arguments, *words, code=code)
        found = json.loads((out / "monitor.json").read_text())
        return Monitoring.parse(found, "monitor.json")

    return looked


def state(found: Monitoring, check: str) -> str:
    (one,) = (row.state for row in found.checks if row.check == check)
    return one


def column(found: Monitoring, name: str) -> ColumnDrift:
    (one,) = (row for row in found.columns if row.name == name)
    return one


def test_the_world_of_the_training_does_not_fail(look: Callable[..., Monitoring]) -> None:
    found = look("late", "--as-of", AS_OF)
    assert found.state == "warning"
    assert {row.state for row in found.checks} <= {"ok", "warning"}
    for check in ("score", "input amt_log", "field amount_minor", "false alerts, go online"):
        assert state(found, check) == "ok"
    assert sum(day.rows for day in found.days) == sum(w.rows for w in found.weeks) == 5176
    assert len(found.days) == 10


def test_what_drifted_is_named_and_a_transferred_pack_fails(
    look: Callable[..., Monitoring], small: dict[str, Path], worlds: dict[str, Path], tmp_path: Path
) -> None:
    found = look("dear", "--as-of", AS_OF, code=4)
    assert found.checks[0].check == "false alerts, go online"
    for check in ("false alerts, go online", "alerts", "input amt_log", "field amount_minor"):
        assert state(found, check) == "failed"
    for check in ("field entry_mode", "input hour_rare", "notices"):
        assert state(found, check) == "ok"
    told = next(row.text for row in found.checks if row.check == "field amount_minor")
    assert re.search(r"0\.25 or more since the week of 2025-02-03; most gained: above [\d,]+", told)
    inputs = [row.name for row in found.columns if row.kind == "input"]
    assert set(inputs[:3]) == {"amt_to_floor", "amt_log", "amt_small_16"}
    figure = found.labels.false_alerts_per_1000["go_online"] if found.labels else None
    assert figure is not None
    assert figure.interval[0] > 2 * figure.expected == 2
    done = tinyfin(
        "score",
        small["run"],
        worlds["dear"],
        "--warmup",
        worlds["early"],
        "-q",
        "--out",
        tmp_path / "s.parquet",
    )
    assert re.search(r"far from those.*amt_to_floor 1\.9", done.stderr)
    done = tinyfin(
        "score",
        small["run"],
        worlds["late"],
        "--warmup",
        worlds["early"],
        "--out",
        tmp_path / "s.parquet",
    )
    assert "far from" not in done.stderr


def test_figures_are_those_of_the_scores(
    look: Callable[..., Monitoring], small: dict[str, Path], worlds: dict[str, Path], tmp_path: Path
) -> None:
    """Plain Python over the file that `tinyfin score` writes."""
    found = look("dear", "--as-of", AS_OF, code=4)
    tinyfin(
        "score",
        small["run"],
        worlds["dear"],
        "--warmup",
        worlds["early"],
        "--with",
        "label,time",
        "--out",
        tmp_path / "s.parquet",
    )
    rows = pq.read_table(tmp_path / "s.parquet").to_pylist()
    alerts = [row for row in rows if row["action"] != "accept"]
    genuine = [row for row in rows if row["label"] == 0]
    false = sum(row["label"] == 0 for row in alerts)
    labels = found.labels
    assert labels is not None
    assert found.alerts_per_1000.value == pytest.approx(1000 * len(alerts) / len(rows))
    figure = labels.false_alerts_per_1000["go_online"]
    assert figure.value == pytest.approx(1000 * false / len(genuine))
    low, high = wilson(false / len(genuine), len(genuine))
    assert figure.interval[0] <= 1000 * low
    assert figure.interval[1] >= 1000 * high
    frauds = [row for row in rows if row["label"] == 1]
    assert labels.frauds == len(frauds)
    caught = sum(row["action"] != "accept" for row in frauds)
    assert labels.recall["go_online"].value == pytest.approx(caught / len(frauds))
    ranked = average_precision_score([row["label"] for row in rows], [r["score"] for r in rows])
    assert labels.average_precision.value == pytest.approx(ranked)
    assert labels.frauds_promised is not None
    assert labels.frauds_promised.expected == pytest.approx(sum(row["score"] for row in rows))
    statuses = [row["notices"] for row in rows]
    assert found.notices == {name: statuses.count(name) for name in found.notices}
    for day in found.days:
        assert day.rows == sum(row["time"].date().isoformat() == day.day for row in rows)
    for week in found.weeks:
        first = dt.date.fromisoformat(week.begin)
        assert first.weekday() == 0
        inside = [row for row in alerts if 0 <= (row["time"].date() - first).days < 7]
        assert week.alerts == len(inside)


def test_immature_labels_do_not_count(
    look: Callable[..., Monitoring], worlds: dict[str, Path], small: dict[str, Path], tmp_path: Path
) -> None:
    """Labels take seven days here: those of the last seven days are immature, whatever they say."""
    found = look("late", code=4)
    table = pq.read_table(worlds["late"])
    last = max(table["time"].to_pylist())
    old = np.array([last - t >= dt.timedelta(days=7) for t in table["time"].to_pylist()])
    assert found.labels is not None
    assert (found.labels.rows, found.labels.immature) == (old.sum(), (~old).sum())
    assert 0 < found.labels.rows < len(table)

    def flipped(which: np.ndarray) -> Monitoring:
        label = np.where(which, 1 - table["label"].to_numpy(), table["label"].to_numpy())
        path = tmp_path / "flipped.parquet"
        pq.write_table(changed(table, "label", pa.array(label, table["label"].type)), path)
        return monitor(small["run"], [path], warmup=[worlds["early"]])

    assert flipped(~old).labels == found.labels
    assert flipped(old).labels != found.labels  # the control
    later = look("late", "--as-of", AS_OF).labels
    assert later is not None
    assert (later.rows, later.immature) == (len(table), 0)


def test_without_labels_the_rest_is_said(
    look: Callable[..., Monitoring], small: dict[str, Path], worlds: dict[str, Path]
) -> None:
    found = look("bare")
    assert found.labels is None
    assert not any(row.check.startswith(("false", "frauds", "recall")) for row in found.checks)
    assert state(found, "input amt_log") == state(found, "score") == "ok"
    assert state(found, "notices") == "ok"  # labels of the rows before the file
    alone = monitor(small["run"], [worlds["bare"]])  # no labels of earlier rows either
    assert alone.notices["missing"] == alone.data.rows
    assert state(alone, "notices") == "failed"
    assert state(alone, "input known_rate_28d") == "too_few_rows"
    assert any(row.check == "cold verdicts" for row in alone.checks) is (
        alone.cold_rows > alone.data.rows / 5
    )


def test_too_few_rows_give_no_verdict(look: Callable[..., Monitoring]) -> None:
    found = look("few", "--as-of", AS_OF)
    assert {row.state for row in found.checks} == {found.state} == {"too_few_rows"}
    asked = ("--min-rows", 100, "--psi-warning", 0.2, "--as-of", AS_OF)
    assert state(look("few", *asked, code=4), "field entry_mode") == "ok"  # the control
    found = look("few")
    assert found.checks[0].text == "none of 400 labels is old enough"


def test_limits_are_those_of_the_configuration_or_of_options(
    look: Callable[..., Monitoring], run_copy: Path, tmp_path: Path
) -> None:
    assert state(look("dear", "--psi-failed", 50, code=4), "input amt_log") == "warning"
    with (run_copy / "config.toml").open("a") as file:
        file.write("\n[monitor]\npsi_warning = 40\npsi_failed = 50\nfactor = 500\n")
    found = look("dear", "--as-of", AS_OF, run=run_copy)
    assert state(found, "input amt_log") == "ok"
    assert state(found, "false alerts, go online") == "warning"
    done = tinyfin("monitor", run_copy, __file__, "--out", tmp_path, "--as-of", "soon", code=3)
    assert "--as-of 'soon'" in done.output


def test_limits_that_make_no_sense_are_refused(
    small: dict[str, Path], worlds: dict[str, Path], tmp_path: Path
) -> None:
    done = tinyfin(
        "monitor", small["run"], worlds["few"], "--psi-warning", 2, "--out", tmp_path, code=3
    )
    assert "psi_warning must not exceed psi_failed" in done.output


def test_the_order_of_terminals_in_a_file_changes_nothing(
    small: dict[str, Path], worlds: dict[str, Path], tmp_path: Path
) -> None:
    table = pq.read_table(worlds["late"])
    # of one terminal, rows of a file are events in their order
    terminal = np.unique(table["terminal"].to_pylist(), return_inverse=True)[1]
    order = np.argsort(-terminal, kind="stable")
    pq.write_table(table.take(order), tmp_path / "mixed.parquet")
    found = [
        monitor(small["run"], [path], warmup=[worlds["early"]])
        for path in (worlds["late"], tmp_path / "mixed.parquet")
    ]
    for name in ("columns", "labels", "weeks", "days", "checks"):
        assert found[0].as_json()[name] == found[1].as_json()[name]


def test_an_older_run_is_compared_with_its_data_or_its_slices(
    look: Callable[..., Monitoring], run_copy: Path, worlds: dict[str, Path], tmp_path: Path
) -> None:
    expected = look("late", "--as-of", AS_OF).columns
    kept = (run_copy / Reference.NAME).read_text()
    (run_copy / Reference.NAME).unlink()
    assert look("late", "--as-of", AS_OF, run=run_copy).columns == expected
    facts = json.loads((run_copy / "run.json").read_text())
    facts["data"]["files"][0]["path"] = str(tmp_path / "gone.parquet")
    (run_copy / "run.json").write_text(json.dumps(facts))
    alone = look("late", "--psi-failed", 9, "--as-of", AS_OF, run=run_copy).columns
    assert alone[0] == expected[0]
    assert not any(row.kind == "field" for row in alone)
    fed = next(row for row in expected if row.name == "known_rate_28d")
    assert fed in alone
    (run_copy / "slices.npz").unlink()
    done = tinyfin("monitor", run_copy, worlds["few"], code=3)
    assert "has neither reference.json nor slices.npz" in done.output
    (run_copy / Reference.NAME).write_text(kept.replace('"amt_log"', '"amt_lag"'))
    done = tinyfin("monitor", run_copy, worlds["few"], code=3)
    assert "is not of this run; copy the run again" in done.output


def test_a_broken_statistic_would_be_seen(
    small: dict[str, Path], worlds: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the worlds above: an index that is always 0 names nothing."""
    monkeypatch.setattr(drift_of, "stability_index", lambda before, after: 0.0)
    found = monitor(small["run"], [worlds["dear"]], warmup=[worlds["early"]])
    assert column(found, "amt_log").state == "ok"


def test_the_page_has_weeks_and_the_columns_that_drifted_most(
    look: Callable[..., Monitoring], tmp_path: Path, small: dict[str, Path]
) -> None:
    look("dear", "--as-of", AS_OF, code=4)
    page = (tmp_path / "out" / "monitor.html").read_text()
    assert "Failed on these transactions" in page
    assert page.count("<figure>") == 3 + 6 + 1
    assert "Input amt_to_floor: stability index" in page
    assert not re.search(r"(src|href)=\"http", page)
    assert not (small["run"] / "monitor").exists()


def test_monitor_does_without_the_packages_of_training(
    small: dict[str, Path], worlds: dict[str, Path], tmp_path: Path
) -> None:
    words = ["monitor", str(small["run"]), str(worlds["late"]), "--out", str(tmp_path), "-q"]
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'sklearn', 'scipy'): sys.modules[name] = None\n"
        "from tinyfin.cli import main\n"
        f"main({[*words, '--warmup', str(worlds['early']), '--as-of', AS_OF]!r})\n"
    )
    call(sys.executable, "-c", code)
    assert json.loads((tmp_path / "monitor.json").read_text())["state"] == "warning"


def test_results_go_into_the_run_and_score_writes_the_same_bytes(
    run_copy: Path, worlds: dict[str, Path], tmp_path: Path
) -> None:
    pack = (run_copy / "model.tfpack").read_bytes()
    tinyfin("monitor", run_copy, worlds["few"])
    assert sorted(path.name for path in (run_copy / "monitor").iterdir()) == [
        "monitor.html",
        "monitor.json",
    ]
    assert (run_copy / "model.tfpack").read_bytes() == pack
    for name in ("with", "without"):
        tinyfin("score", run_copy, worlds["few"], "--out", tmp_path / f"{name}.parquet")
        shutil.rmtree(run_copy / "monitor", ignore_errors=True)
        (run_copy / Reference.NAME).unlink(missing_ok=True)
    assert (tmp_path / "with.parquet").read_bytes() == (tmp_path / "without.parquet").read_bytes()
