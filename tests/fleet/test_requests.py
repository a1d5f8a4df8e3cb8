# SPDX-License-Identifier: Apache-2.0
"""Estimated and realised precision, and the requests for a candidate that follow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.terminal_drift import FIRST_DAY
from tests.fleet.conftest import DAYS
from tests.support import drifting, monitors, registries
from tests.support import fleet as bench
from tests.support.cli import tinyfin, tinyfin_json
from tinyfin.errors import InputError
from tinyfin.fleet import requests
from tinyfin.fleet.estimates import estimated, precision, realised_on
from tinyfin.fleet.labels import add_labels
from tinyfin.fleet.lake import Lake, date_of, day_number
from tinyfin.fleet.requests import Cause, answer, judged, record, requests_of
from tinyfin.fleet.views import connect
from tinyfin.pack.container import Pack, open_pack, parse_pack, sign_again
from tinyfin.pack.sections import encode_json
from tinyfin.registry.registry import Registry

FIRST = day_number(FIRST_DAY)
LAST = FIRST + DAYS - 1
ONE = 1 << 32
AT = open_pack(bench.PACK).decision.go_online_q32  # type: ignore[union-attr]
EDGES = (1 << 24, 1 << 28, AT, 3 << 30)


@pytest.fixture(scope="module")
def place(calm: SimpleNamespace) -> SimpleNamespace:
    """The calm town's lake with labels, and what the pack said of each transaction."""
    alerts = np.asarray(drifting.scored(calm.pack, calm.tx).action) > 0
    label_file(calm.folder / "labels.csv", calm.tx, alerts)
    add_labels(calm.lake, [calm.folder / "labels.csv"])
    return SimpleNamespace(**vars(calm), alerts=alerts)


def label_file(path: Path, tx: drifting.Transactions, alerts: np.ndarray) -> None:
    """What became known of every fraud and every alert."""
    lines = ["terminal,id,time,label,known,alerted"]
    for i in np.flatnonzero((tx.label == 1) | alerts & (tx.label == 0)).tolist():
        word = "fraud" if tx.label[i] == 1 else "cleared"
        name = bench.terminal(int(tx.terminal[i])).hex()
        known, alerted = tx.label_known_s[i], "yes" if alerts[i] else "no"
        lines.append(f"{name},{tx.id[i]},{tx.t_mono_s[i]},{word},{known},{alerted}")
    path.write_text("\n".join(lines) + "\n")


# ------------------------------------------------------------------------- estimated


def counted(pack: Pack, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Scores of each terminal by bin, in plain Python."""
    assert pack.drift is not None
    bins = [(low, high) for low, high in pairwise((-1, *pack.drift.score.edges, ONE))]
    return np.array(
        [[sum(low <= x < high for x in of) for low, high in bins] for of in groups], np.int64
    )


def made(scores: Sequence[int] = (), edges: Sequence[int] = EDGES) -> Pack:
    """The reference pack with a DRFT of the score alone; of scores of its release, their means."""
    pack = open_pack(bench.PACK)
    line = dict(pack.lineage)
    if scores:
        of = [[x for x in scores if low <= x < high] for low, high in pairwise((-1, *edges, ONE))]
        means = [round(sum(x) / max(len(x), 1)) for x in of]
        line["score_bins"] = {"rows": [len(x) for x in of], "mean_q32": means}
    sections = {**pack.sections, "DRFT": monitors.drift(edges), "LINE": encode_json(line)}
    return _opened(sign_again(pack, None, sections=sections))


def _opened(data: bytes) -> Pack:
    return parse_pack(data)


score_lists = st.lists(
    st.lists(st.integers(0, ONE - 1), min_size=1, max_size=30), min_size=1, max_size=6
)
BARE, BETWEEN = made(), made(edges=(1 << 24, 1 << 29, 3 << 30))


@settings(deadline=None, max_examples=200)
@given(score_lists)
@pytest.mark.parametrize("pack", [BARE, BETWEEN], ids=["edge", "no edge at the threshold"])
def test_edges_bound_the_sum_over_scores(pack: Pack, groups: list[list[int]]) -> None:
    """CBPE of the scores themselves lies between the bounds that their bins leave."""
    flat = [x / ONE for of in groups for x in of]
    alerts = [p for p in flat if p * ONE >= AT]
    found = estimated(pack, counted(pack, groups))
    if found is None:
        assert not alerts
        return
    if alerts:
        assert found[0][0] <= sum(alerts) / len(alerts) + 1e-9
        assert found[0][1] >= sum(alerts) / len(alerts) - 1e-9
    assert found[1][0] - 1e-9 <= sum(alerts) / max(sum(flat), 1e-12) <= found[1][1] + 1e-9


def test_means_of_bins_give_the_sum_over_scores() -> None:
    rng = np.random.default_rng(1)
    scores = (ONE * rng.beta(0.05, 1.0, 20_000)).astype(np.int64).tolist()
    pack = made(scores)
    flat = np.array(scores) / ONE
    (low, high), recall = estimated(pack, counted(pack, [scores[i::40] for i in range(40)])) or ()
    assert (low + high) / 2 == pytest.approx(flat[flat >= AT / ONE].mean(), abs=1e-6)
    assert sum(recall) / 2 == pytest.approx(flat[flat >= AT / ONE].sum() / flat.sum(), abs=1e-6)
    wide, _ = estimated(BARE, counted(BARE, [scores[i::40] for i in range(40)])) or ()
    assert wide[0] < low < high < wide[1]


def test_the_interval_holds_the_precision_that_comes_true() -> None:
    """Labels drawn by the scores: 95 % of the intervals hold it; those of half the width do not."""
    rng = np.random.default_rng(2)
    pool = (ONE * rng.beta(0.05, 1.0, 50_000)).astype(np.int64)
    pack = made(pool.tolist())
    held = half = 0
    for _ in range(200):
        groups = [rng.choice(pool, 200) for _ in range(25)]
        flat = np.concatenate(groups)
        fraud = rng.random(len(flat)) < flat / ONE
        true = float(fraud[flat >= AT].mean())
        edges = np.array([0, *EDGES, ONE])
        counts = np.array([np.histogram(of, edges)[0] for of in groups])
        (low, high), _ = estimated(pack, counts) or ()
        held += low <= true <= high
        half += abs(true - (low + high) / 2) <= (high - low) / 4
    assert held >= 184
    assert half < 170


def test_precision_of_a_town(place: SimpleNamespace) -> None:
    """Without labels, week by week, against the labels of the town; the pack is calibrated on
    another one, so it may be off by what it is off there."""
    tx, alerts = place.tx, place.alerts
    for day in (LAST - 14, LAST - 7, LAST):
        low, high, promised = precision(place.lake, place.pack, day) or (0.0, 0.0, 0.0)
        days = tx.t_mono_s.astype(np.int64) // 86_400
        week = alerts & (days > day - 7) & (days <= day)
        true = float((tx.label[week] == 1).mean())
        assert low - 0.1 <= true <= high + 0.1
        assert high - low < 0.3
        assert low < promised < high


def test_what_cannot_be_estimated(place: SimpleNamespace, tmp_path: Path) -> None:
    assert precision(place.lake, open_pack(bench.PACK), LAST) is None  # no DRFT
    assert precision(place.lake, place.pack, FIRST - 5) is None  # no report
    rank = {**place.pack.meta, "score": "rank"}
    sections = {**place.pack.sections, "META": encode_json(rank)}
    other = _opened(sign_again(place.pack, None, sections=sections))
    assert estimated(other, np.ones((3, 16), np.int64)) is None


# -------------------------------------------------------------------------- realised


def test_realised_precision_is_that_of_a_loop(place: SimpleNamespace) -> None:
    tx, alerts = place.tx, place.alerts
    with connect(place.lake, LAST) as base:
        found = realised_on(base, place.pack)
    assert found is not None
    first, last = (day_number(dt.date.fromisoformat(x)) for x in (found.first_day, found.last_day))
    assert last <= LAST - 6  # a week later nine of ten are known
    hits = frauds = all_alerts = 0
    for i in range(len(tx)):
        if first <= int(tx.t_mono_s[i]) // 86_400 <= last and tx.label[i] >= 0:
            all_alerts += bool(alerts[i])
            frauds += int(tx.label[i] == 1)
            hits += bool(alerts[i] and tx.label[i] == 1)
    assert (found.alerts, found.frauds) == (all_alerts, frauds)
    assert found.precision is not None
    assert found.recall is not None
    assert found.precision[0] == pytest.approx(hits / all_alerts)
    assert found.recall[0] == pytest.approx(hits / frauds)
    for share, low, high in (found.precision, found.recall):
        assert low < share < high


def test_labels_of_later_are_not_known_earlier(place: SimpleNamespace) -> None:
    """As of a day in the middle, the newest mature day lies before it."""
    with connect(place.lake, LAST - 20) as base:
        found = realised_on(base, place.pack)
        newest = base.execute("SELECT max(known_hour) // 24 FROM label").fetchall()[0][0]
    assert newest <= LAST - 20
    assert found is not None
    assert found.last_day < str(date_of(LAST - 20))


def test_labels_without_a_verdict_say_nothing(place: SimpleNamespace, tmp_path: Path) -> None:
    lake = bench.new_lake(tmp_path / "lake")
    bench.take(lake, *bench.fleet(3, 6))
    add_labels(lake, [bench.label_file(tmp_path / "labels.csv", 20)])
    with connect(lake) as base:
        assert realised_on(base, open_pack(bench.PACK)) is None
    bad = tmp_path / "bad.csv"
    head = "terminal,id,time,label,known,alerted\n"
    bad.write_text(f"{head}{bench.terminal(0).hex()},7,10,fraud,20,perhaps\n")
    assert "must be yes or no" in tinyfin(f"fleet labels {lake.path} {bad}", code=3).output


# -------------------------------------------------------------------------- requests


def test_a_calm_town_asks_for_nothing(place: SimpleNamespace) -> None:
    found = judged(place.lake, place.pack, LAST)
    assert (found.causes, found.waiting) == ({}, None)


def test_every_cause(
    place: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by what it is about; and those that only labels can answer wait for mature ones."""
    lake, pack, day = place.lake, place.pack, LAST
    aged = judged(lake, pack, day + 200)
    assert aged.causes == {Cause.AGE: f"its training ended {day + 200 - until(pack)} days ago"}
    assert judged(lake, pack, day, review_by=date_of(day)).causes == {
        Cause.AGE: f"to be reviewed by {date_of(day)}"
    }
    assert judged(lake, pack, day, review_by=date_of(day + 1)).causes == {}
    monkeypatch.setattr(requests, "drifted_histograms", lambda *_: ["score in all"])
    assert Cause.DRIFT in judged(lake, pack, day).causes
    early = {**pack.lineage, "until": str(date_of(day + 1))}
    newer = with_line(pack, early)
    monkeypatch.setattr(requests, "estimated_on", lambda *_: None)
    waits = judged(lake, newer, day)
    assert waits.causes == {}
    assert "labels are mature to" in str(waits.waiting)


def until(pack: Pack) -> int:
    return day_number(dt.date.fromisoformat(str(pack.lineage["until"])[:10]))


def with_line(pack: Pack, line: dict[str, object]) -> Pack:
    return _opened(sign_again(pack, None, sections={**pack.sections, "LINE": encode_json(line)}))


@pytest.mark.parametrize("factor", [0.7, 1.6])
def test_a_drop_of_precision(
    place: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    """A pack that promised 1.6 times what it keeps asks; by estimate, and by labels."""
    real = requests.estimated_on

    def promised(*words: object) -> object:
        found = real(*words)  # type: ignore[arg-type]
        assert found is not None
        return found.model_copy(update={"promised_precision": factor * found.promised_precision})

    monkeypatch.setattr(requests, "estimated_on", promised)
    causes = judged(place.lake, place.pack, LAST).causes
    wanted = {Cause.ESTIMATED, Cause.REALISED} if factor > 1 else set()
    assert set(causes) == wanted
    assert all("promised" in why for why in causes.values())


def test_an_alert_budget_that_is_missed_for_two_weeks() -> None:
    from tests.fleet.test_drift import fleet

    counts = fleet(np.random.default_rng(1), 20, 6, strata=1, moves=1e4)
    for late, share in ((41, 0.5), (30, 0.5), (41, 0.1)):
        level = np.where((counts.terminal < 20 * share) & (counts.day > late - 14), 4, 2)
        found = requests._at_the_top(type(counts)(**{**vars(counts), "level": level}), 4, 41)
        assert (
            found == (share if share > requests.LEVEL_SHARE and late == 41 else None) or late < 41
        )
        week = np.where((counts.terminal < 10) & (counts.day > 36), 4, 2)  # a few days alone
        assert requests._at_the_top(type(counts)(**{**vars(counts), "level": week}), 4, 41) is None


def test_requests_cool_down_and_are_replayed(place: SimpleNamespace, tmp_path: Path) -> None:
    """Day by day for ten weeks: the log has one open request of a cause, and another one two weeks
    after its answer; all days again record nothing."""
    key, log = registries.key("b"), registries.with_pack(tmp_path / "registry", place.path)
    causes, pack = {Cause.DRIFT: "score in all"}, place.pack
    for day in range(LAST, LAST + 20):
        record(log, pack, causes, day, key)
    [one] = requests_of(log)
    assert one.answer is None
    assert one.event.detail == {
        "cause": "drift",
        "control": False,
        "day": str(date_of(LAST)),
        "why": "score in all",
    }
    record(log, pack, {Cause.AGE: "old"}, LAST, key)
    answer(log, one.event.number, LAST + 20, key, why="a holiday")
    with pytest.raises(InputError, match="is no open request"):
        answer(log, one.event.number, LAST + 20, key)
    for day in range(LAST, LAST + 40):
        record(log, pack, causes, day, key)
    found = [(x.event.detail["cause"], x.event.detail["day"]) for x in requests_of(log)]
    later = str(date_of(LAST + 20 + requests.COOL_DOWN_DAYS))
    assert found == [("drift", str(date_of(LAST))), ("age", str(date_of(LAST))), ("drift", later)]
    head = log.state().head
    for day in range(LAST, LAST + 40):
        assert not record(log, pack, causes, day, key)
    assert Registry(log.path).state().head == head
    assert log.verify()[1] == []


def test_the_verbs(place: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = registries.with_pack(tmp_path / "registry", place.path)
    tinyfin("keygen other.key --kind person")
    person = registries.key_file(tmp_path / "a.key", "a")
    words = ["--pack", place.path, "--as-of", date_of(LAST), "--review-by", date_of(LAST)]
    lake = place.lake.path
    assert tinyfin_json("fleet", "requests", lake, *words)["requests"] == []
    said = tinyfin("fleet", "requests", lake, *words, "--key", "other.key", code=3).output
    assert "none of the policy's" in said
    found = tinyfin_json("fleet", "requests", lake, *words, "--key", person)
    assert [x["cause"] for x in found["requests"]] == ["age"]
    assert tinyfin_json("fleet", "requests", lake, *words, "--key", person) == found
    number = found["requests"][0]["request"].split(":")[0]
    assert "none: data shows only" in tinyfin("fleet", "requests", lake, *words).output
    tinyfin("fleet", "answer", number, "--why", "next quarter", "--key", person)
    assert "next quarter" in tinyfin("fleet", "requests", lake, *words).output
    assert (
        "is no open request"
        in tinyfin("fleet", "answer", number, "--why", "again", "--key", person, code=3).output
    )
    assert "candidate.answered" in tinyfin("registry", "log").output
    assert log.verify()[1] == []
    assert Lake(lake).faults() == []
