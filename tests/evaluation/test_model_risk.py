# SPDX-License-Identifier: Apache-2.0
"""What whoever approves a model reads: computed as others compute it, and nothing else in cards."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance
from sklearn.metrics import average_precision_score

from tests.support.cli import tinyfin
from tests.support.configs import QUICK
from tinyfin.config import from_table, load
from tinyfin.config.lineage import of_the_model, without_section
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.errors import ConfigError
from tinyfin.evaluation import feature_effects
from tinyfin.evaluation.challengers import challengers
from tinyfin.evaluation.feature_effects import Drawing, ablation, direction, needs, permuted
from tinyfin.evaluation.stability import share_interval, trend
from tinyfin.pages.blocks import table, text
from tinyfin.pages.markdown import as_markdown, readable
from tinyfin.results.evaluation import MeanFigures, Spans
from tinyfin.training.bootstrap import draw_groups, interval, wilson
from tinyfin.training.run_folder import RunFolder
from tinyfin.twin import Twin

WEIGHTS = np.array([40, -15, 0, 7, 25], np.int32)


def score(codes: np.ndarray) -> np.ndarray:
    """A model whose first inputs are known to matter, whose third matters nothing."""
    return codes.astype(np.int32) @ WEIGHTS


class Linear(ClassifierMixin, BaseEstimator):
    """The same model, as scikit-learn takes it."""

    classes_ = np.array([0, 1])

    def fit(self, x: np.ndarray, y: np.ndarray) -> Linear:
        return self

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return score(x)


def sample(n: int = 1500, draws: int = 200) -> Drawing:
    rng = np.random.default_rng(11)
    inputs = rng.integers(-120, 121, (n, 5)).astype(np.int8)
    inputs[:, 3] = 9
    chance = 1 / (1 + np.exp(-(score(inputs) / 1500 - 3)))
    return Drawing(
        inputs=inputs,
        fraud=rng.random(n) < chance,
        weight=np.ones(n),
        group=np.arange(n) // 3,
        drawn=draw_groups(n // 3, 1, draws),
    )


# ----------------------------------------------------------------------------- effects of features


def test_an_effect_is_scikit_learn_s() -> None:
    rows = sample()
    theirs = permutation_importance(
        Linear(),
        rows.inputs,
        rows.fraud.astype(int),
        scoring="average_precision",
        n_repeats=40,
        random_state=3,
    ).importances_mean
    rng = np.random.default_rng(5)
    base = score(rows.inputs)
    ours = [permuted(score, rows, i, base, rng, repeats=40)[0] for i in range(5)]
    assert theirs[0] > 0.2
    assert ours == pytest.approx(theirs, abs=0.01)
    assert ours[2:4] == [0.0, 0.0], "one that the model does not use, and a constant"


def test_an_effect_is_that_of_the_same_permutations_by_hand() -> None:
    rows = sample()
    weight = np.where(rows.fraud, 1.0, 3.5)
    weighted = Drawing(rows.inputs, rows.fraud, weight, rows.group, rows.drawn)
    base = score(rows.inputs)
    lost, replicated = permuted(score, weighted, 1, base, np.random.default_rng(8))
    rng = np.random.default_rng(8)
    by_hand, by_draw = [], []
    for repeat in range(5):
        other = rows.inputs.copy()
        other[:, 1] = rng.permutation(rows.inputs[:, 1])
        scores = (base, score(other))
        with_, without = (
            average_precision_score(rows.fraud, s, sample_weight=weight) for s in scores
        )
        by_hand.append(with_ - without)
        for times in rows.drawn[40 * repeat : 40 * repeat + 40]:
            own = weight * times[rows.group]
            a, b = (average_precision_score(rows.fraud, s, sample_weight=own) for s in scores)
            by_draw.append(a - b)
    assert lost == pytest.approx(np.mean(by_hand))
    assert replicated == pytest.approx(by_draw, abs=1e-5)
    low, high = interval(replicated)
    assert low < lost < high


def test_a_constant_has_no_effect_and_no_direction() -> None:
    rows = sample()
    lost, replicated = permuted(score, rows, 3, score(rows.inputs), np.random.default_rng(1))
    assert (lost, interval(replicated)) == (0.0, (0.0, 0.0))
    assert direction(score, rows.inputs, 3) == "none"


def test_directions_are_those_of_known_functions() -> None:
    inputs = sample().inputs
    assert [direction(score, inputs, i) for i in range(3)] == ["rises", "falls", "none"]
    assert direction(lambda x: abs(x[:, 0].astype(np.int32)), inputs, 0) == "both"


def test_a_group_that_the_model_rests_on_takes_everything_with_it() -> None:
    rows = sample()
    usual = [0, 0, 0, 9, 0]
    whole = average_precision_score(rows.fraud, score(rows.inputs))
    share = float(np.mean(rows.fraud))
    lost, replicated = ablation(score, rows, [0, 1, 4], usual, score(rows.inputs))
    assert lost == pytest.approx(whole - share), "all scores are equal: precision is the share"
    assert interval(replicated)[0] > 0
    lost, replicated = ablation(score, rows, [2, 3], usual, score(rows.inputs))
    assert (lost, interval(replicated)) == (0.0, (0.0, 0.0))


def test_weights_make_of_the_rows_drawn_the_precision_of_all() -> None:
    rows = sample(60_000, draws=1)
    whole = average_precision_score(rows.fraud, score(rows.inputs))
    found, bare = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        some = feature_effects._chosen(
            np.flatnonzero(rows.fraud), np.flatnonzero(~rows.fraud), 4000, rng
        )
        assert len(some) == 4000
        fraud = rows.fraud[some]
        weight = feature_effects._weights(fraud, rows.fraud, None)
        own = score(rows.inputs[some])
        found.append(average_precision_score(fraud, own, sample_weight=weight))
        bare.append(average_precision_score(fraud, own))
    assert np.mean(found) == pytest.approx(whole, abs=0.01)
    assert np.mean(bare) > whole + 0.1, "without weights the frauds that are kept count too much"


def test_features_are_grouped_by_what_they_need() -> None:
    names = ["amt_log", "hour_of_day", "gap_s", "known_last", "tok_gap_s"]
    found = needs(from_table({"features": {"names": names}}))
    assert found["notices"] == ["known_last"]
    assert found["memory of cards"] == ["tok_gap_s"]
    assert found["this transaction alone"] == ["amt_log", "hour_of_day"]
    assert found["memory of the terminal"] == ["gap_s", "known_last"]
    assert found["field amount_minor"] == ["amt_log"]
    assert "host fields" not in found
    assert "how transactions end" not in found


# -------------------------------------------------------------------------------------- over time


def test_a_trend_is_the_textbook_s() -> None:
    y = [0.50, 0.55, 0.53, 0.60]
    found = trend(y)
    slope = np.polyfit(range(4), y, 1)[0]
    left = np.asarray(y) - np.polyval(np.polyfit(range(4), y, 1), range(4))
    half = 4.302653 * math.sqrt(np.sum(left**2) / 2 / 5)  # t for 2 degrees; sum of squares 5
    assert found.slope == pytest.approx(slope)
    assert found.interval == pytest.approx((slope - half, slope + half), rel=1e-5)
    assert (found.lowest, found.highest) == (0.50, 0.60)
    assert trend([0.5, math.nan, 0.7]).slope == pytest.approx(0.1), "by part, not by figure"
    assert math.isnan(trend([0.5, 0.7]).interval[0])
    assert math.isnan(trend(y, ordered=False).slope)
    assert math.isnan(trend([]).lowest)


def test_an_interval_of_a_share_knows_that_events_come_together() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(100), 50)
    event = (rng.random(100) < 0.1)[group]
    low, high = share_interval(event, np.ones(5000, bool), group)
    least, most = wilson(float(np.mean(event)), 5000)
    assert high - low > 3 * (most - least)
    nothing = share_interval(np.zeros(50, bool), np.ones(50, bool), np.arange(50))
    assert nothing == pytest.approx(wilson(0, 50))
    assert math.isnan(share_interval(event, np.zeros(5000, bool), group)[0])


def test_the_best_of_each_kind_is_the_challenger() -> None:
    precision = {
        "model_int8": 0.5,
        "model_float": 0.9,
        "rule_a": 0.2,
        "amount": 0.3,
        "xgboost": 0.6,
    }
    means = {n: MeanFigures.model_construct(average_precision=p) for n, p in precision.items()}
    leads = {"amount": (0.1, 0.3), "rule_a": (0.2, 0.4), "xgboost": (-0.2, 0.01)}
    spans = {n: Spans.model_construct(int8_leads_by=span) for n, span in leads.items()}
    rule, learned = challengers({"all": means}, {"all": spans})
    assert (rule.scorer, rule.verdict) == ("amount", "int8 is better")
    assert rule.int8_leads_by == pytest.approx(0.2)
    assert (learned.scorer, learned.verdict) == ("xgboost", "not shown to differ")
    spans["xgboost"].int8_leads_by = (-0.2, -0.01)
    assert challengers({"all": means}, {"all": spans})[1].verdict == "int8 is worse"


# ----------------------------------------------------------------------------- from file to cards


@pytest.fixture(scope="module")
def facts(judged: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((judged / "evaluation.json").read_text())
    return found


def test_effects_are_of_the_packs_that_were_judged(facts: dict[str, object]) -> None:
    found = facts["effects"]
    parts = [p["populations"][found["population"]]["model_int8"] for p in facts["parts"]]
    assert found["parts"] == [p["name"] for p in facts["parts"]]
    assert found["of_frauds"] == sum(p["frauds"] for p in parts)
    assert found["of_rows"] == sum(p["rows"] for p in parts)
    # few rows: all of them were drawn, so the precision is that of the evaluation
    assert found["rows"] == found["of_rows"]
    whole = np.mean([p["average_precision"] for p in parts])
    assert found["average_precision"] == pytest.approx(whole)
    assert [f["effect"] for f in found["features"]] == sorted(
        (f["effect"] for f in found["features"]), reverse=True
    )
    held = {g["group"]: g for g in found["groups"]}
    assert held["notices"]["features"] == facts["without_notices"]["features"]
    assert held["notices"]["average_precision"] + held["notices"]["effect"] == pytest.approx(whole)


def test_without_notices_is_what_a_terminal_without_them_says(
    small: dict[str, Path], judged: Path, facts: dict[str, object]
) -> None:
    found = facts["without_notices"]
    part = facts["parts"][-1]
    tx = read(small["data"], load(small["config"]))
    folder = judged / "evaluation" / "prequential" / f"{part['name']}-seed1"
    twin = Twin((folder / "model.tfpack").read_bytes(), terminals=len(tx.terminals))
    stream = event_stream(tx, "none")
    answers = twin.run(tx, stream)
    begin, end = (np.datetime64(part[key]) for key in ("begin", "end"))
    at = np.datetime64("2000-01-01") + tx.t_mono_s.astype("timedelta64[s]")
    tested = (at >= begin) & (at < end) & (tx.label >= 0)
    assert np.count_nonzero(tested) == part["split"]["test"]["rows"]
    alert = answers.action[tested] > 0
    fraud = tx.label[tested] == 1
    assert found["recall"] == pytest.approx(np.mean(alert[fraud]))
    assert found["false_alerts_per_1000"] == pytest.approx(1000 * np.mean(alert[~fraud]))
    with np.load(folder / "slices.npz") as file:
        stay = file["test_without_known_cards"]
    theirs = average_precision_score(fraud[stay], answers.raw[tested][stay])
    assert found["average_precision"] == pytest.approx(theirs)
    own = part["populations"][found["population"]]["model_int8"]
    assert found["with_notices"] == pytest.approx(own["average_precision"])
    assert found["average_precision"] != found["with_notices"]


def test_the_data_card_counts_all_rows(facts: dict[str, object]) -> None:
    held, quality = facts["contents"], facts["quality"]
    for counts in (held["currencies"], held["transaction_types"]):
        assert sum(counts.values()) == quality["rows"]
    assert sum(week["rows"] for week in held["weeks"]) == quality["rows"]
    assert sum(week["frauds"] for week in held["weeks"]) == quality["frauds"]
    assert held["cards"] == next(f["distinct"] for f in quality["fields"] if f["field"] == "token")
    assert {kind: d["median"] for kind, d in held["label_delay_days"].items()} == {
        "fraud": 7.0,
        "genuine": 7.0,
    }


def test_what_to_expect_in_service_is_what_the_parts_saw(facts: dict[str, object]) -> None:
    found = facts["monitoring"]
    parts = [p["populations"]["all"]["model_int8"] for p in facts["parts"]]
    rows = sum(p["rows"] for p in parts)
    alerts = sum(p["alerts"]["alerts"] for p in parts)
    expected = found["alerts_per_1000"]
    assert expected["expected"] == pytest.approx(1000 * alerts / rows)
    assert expected["low"] < expected["expected"] < expected["high"]
    false = sum(p["alerts"]["false_alerts"] for p in parts)
    genuine = rows - sum(p["frauds"] for p in parts)
    assert found["false_alerts_per_1000"]["expected"] == pytest.approx(1000 * false / genuine)
    for name in ("score_stability_index", "feature_stability_index"):
        assert (found[name]["high"], found[name]["acts_at"]) == (0.1, 0.25)
    assert [p["name"] for p in facts["stability"]["parts"]] == [p["name"] for p in facts["parts"]]


NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?")


def numbers(value: object) -> Iterator[float]:
    """Every number of a JSON value; of a list or an object also how many it holds."""
    if isinstance(value, (dict, list)):
        yield len(value)
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(key) if isinstance(key, str) else ()
            yield from numbers(one)
    elif isinstance(value, str):
        yield from (float(x.replace(",", "")) for x in NUMBER.findall(value))
    elif value is not None:
        yield float(value)


def strangers(card: str, files: list[object]) -> list[str]:
    """Numbers in a card's tables, but for the first column, that no file has: as it is or in per
    cent, rounded as the card rounds."""
    known = np.array([x for file in files for x in numbers(file)])
    known = np.concatenate([known, 100 * known])
    found = []
    for line in card.splitlines():
        cells = line.strip("|").split("|")[1:] if line.startswith("|") else []
        for word in (x for cell in cells if "`" not in cell for x in NUMBER.findall(cell)):
            digits = len(word.partition(".")[2])
            near = 0.5001 * 10.0**-digits
            value = float(word.replace(",", ""))
            if not np.any(np.abs(known - value) <= near) and not np.any(
                [f"{x:.3g}" == f"{value:.3g}" for x in known[np.abs(known - value) <= 0.01 * value]]
            ):
                found.append(word)
    return found


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "DATA_CARD.md"])
def test_tables_hold_no_number_that_no_file_has(
    judged: Path, facts: dict[str, object], name: str
) -> None:
    files = [facts, json.loads((judged / "run.json").read_text())]
    # how full the memory of terminals was is told in sentences, which are tested with them
    card = re.sub(
        r"## Memory of a terminal.*?(?=\n## )", "", (judged / name).read_text(), flags=re.DOTALL
    )
    assert sum(len(NUMBER.findall(line)) for line in card.splitlines() if line[:1] == "|") > 100
    assert strangers(card, files) == []
    # the control: a number of each table that is changed is noticed, all but a few by chance
    rng = np.random.default_rng(1)
    made_up = [f"{x:.4f}" for x in rng.uniform(0, 1, 300)]
    rows = "".join(f"| made up | {word} |\n" for word in made_up)
    assert len(strangers(card + rows, files)) > 200


def test_cards_say_what_was_not_given_and_what_was(judged: Path, tmp_path: Path) -> None:
    bare, data = ((judged / name).read_text() for name in ("MODEL_CARD.md", "DATA_CARD.md"))
    for key in ("owner", "approved_by", "approved_on", "review_by", "intended_use", "data_licence"):
        assert f"not given: [card] {key} in tinyfin.toml" in bare
    for key in ("data_origin", "data_licence"):
        assert f"not given: [card] {key} in tinyfin.toml" in data
    run = tmp_path / "run"
    shutil.copytree(judged, run)
    about = tmp_path / "card.toml"
    about.write_text(
        '[card]\nowner = "Risk | <b>Ana</b>"\napproved_on = 2026-03-01\nreview_by = "2027-03-01"\n'
        'intended_use = """\nTerminals of kiosks,\nin one country"""\ndata_licence = "own data"\n'
    )
    card, other = tmp_path / "M.md", tmp_path / "D.md"
    where = ("--card-config", about, "--card", card, "--data-card", other)
    result = tinyfin("evaluate", run, "--weeks", 2, *where)
    assert result.output.count("kept from before") == 2
    said = card.read_text()
    assert card.read_bytes() == (run / "MODEL_CARD.md").read_bytes()
    assert other.read_bytes() == (run / "DATA_CARD.md").read_bytes()
    for words in (
        "Risk \\| &lt;b>Ana&lt;/b>",
        "2027-03-01",
        "* Terminals of kiosks, in one country",
    ):
        assert words in said
    assert "own data" in said
    assert "own data" in other.read_text()
    assert "not given: [card] approved_by" in said
    assert "not given: [card] owner" not in said
    page = (run / "evaluation.html").read_text()
    for words in ("Risk | &lt;b&gt;Ana", "Stability over time", "Splits", "DATA_CARD.md"):
        assert words in page
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_prose_of_cards_has_lines_of_100_columns(judged: Path) -> None:
    for name in ("MODEL_CARD.md", "DATA_CARD.md"):
        for line in (judged / name).read_text().splitlines():
            assert len(line) <= 100 or line.startswith("|"), line


def test_a_table_is_aligned_and_says_what_it_said() -> None:
    blocks = [text("word " * 40), table("A | b", ["x", "y"], [["a|b", "1"], ["<i>", "22"]])]
    lines = readable(as_markdown(blocks)).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-4:] == [
        "| x      | y   |",
        "| ------ | --- |",
        "| a\\|b   | 1   |",
        "| &lt;i> | 22  |",
    ]
    again = readable(lines)
    assert again == readable(again.splitlines())


# ------------------------------------------------------------------------------------ no pack moves

CARD = '\n[card]\nowner = "A"\nintended_use = """\n[evaluate]\nat counters\n"""\n'


@pytest.mark.parametrize(
    ("text_", "bare"),
    [
        (QUICK + CARD, QUICK),
        ("card.owner = 'A'\ncard.approved_by = 'B'\n" + QUICK, QUICK),
        ("card = {owner = 'A'}\n" + QUICK, QUICK),
        ("\ufeff[card]\nowner = 'A'\n[train]\n", "\ufeff[train]\n"),
        ("[train]\n\n[card]\r\nowner = 'A'\r\n\r\n[features.cuts]\nx = 1\n",) * 2,
        (QUICK, QUICK),
    ],
)
def test_the_text_that_a_pack_comes_from_has_no_card(text_: str, bare: str) -> None:
    if text_ == bare and "[card]" in bare:
        bare = "[train]\n\n[features.cuts]\nx = 1\n"
    assert without_section(text_, "card") == bare
    assert of_the_model(text_) == bare


def test_no_byte_of_a_pack_depends_on_the_card(small: dict[str, Path], tmp_path: Path) -> None:
    packs = {}
    for name, more in (("bare", ""), ("card", CARD), ("seed", "\n[train]\ntrain = 0.6\n")):
        config = tmp_path / f"{name}.toml"
        config.write_text(QUICK + more)
        where = ("--config", config, "--name", "run", "--out", tmp_path / name)
        tinyfin("train", small["data"], *where)
        tinyfin("quantize", tmp_path / name / "run")
        packs[name] = RunFolder(tmp_path / name / "run").pack_bytes()
    assert packs["bare"] == packs["card"]
    assert packs["bare"] != packs["seed"], "the control: another section does change the pack"


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ({"approved_on": "1 March"}, "card.approved_on = '1 March': a day is written like"),
        ({"approved_on": "2026-03-01", "review_by": "2026-02-01"}, "review_by must be after"),
        ({"ownr": "A"}, "did you mean 'owner'"),
        ({"owner": " "}, "at least 1 character"),
    ],
)
def test_a_wrong_card_is_refused(card: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        from_table({"card": card})
