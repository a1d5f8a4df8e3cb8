# SPDX-License-Identifier: Apache-2.0
"""Groups of one's own: a column that no model sees, compared value by value."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats.contingency import relative_risk
from sklearn.metrics import roc_auc_score

from tests.support.cli import tinyfin
from tests.support.configs import QUICK
from tinyfin.config import Config, load
from tinyfin.config.lineage import without_slices
from tinyfin.data.readers import read
from tinyfin.data.side_columns import read_side_columns
from tinyfin.errors import DataError
from tinyfin.evaluation import interventions, ratios
from tinyfin.evaluation.groups import Group, read_groups
from tinyfin.evaluation.proxies import proxy_figures, replicated_auc
from tinyfin.evaluation.ratios import Counts, risk_ratio, worst_ratios
from tinyfin.pack.container import parse_pack

DATA = """
[data]
time = {column = "TIME", format = "seconds"}
terminal = "SHOP"
amount = "AMOUNT"
label = "FRAUD"
label_delay = "1d"
"""
MORE = "\n[decision]\ngo_online_per_1000 = 25\n[evaluate]\nweeks = 2\nseeds = 1\nbaselines = []\n"
SLICES = 'slices = {region = "REGION", twin = "TWIN", coin = "COIN"}\n'


def config_text(slices: str = SLICES) -> str:
    one_feature = QUICK.replace('["amt_log", "hour_of_day", "gap_s"]', '["amt_log"]')
    return DATA + one_feature.replace("\n[evaluate]\nbaselines = []\n", MORE) + slices


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Forty shops in four regions. In the south one of 25 genuine amounts is large, elsewhere one
    of fifty; TWIN says whether the amount is large, COIN says nothing."""
    rng = np.random.default_rng(5)
    n = 60_000
    shop = rng.integers(0, 40, n)
    region = np.array(["north", "south", "east", "west"])[shop % 4]
    large = rng.random(n) < np.where(region == "south", 0.04, 0.02)
    fraud = rng.random(n) < 0.02
    large |= fraud & (rng.random(n) < 0.7)
    amount = np.where(large, rng.integers(200_000, 9_000_000, n), rng.integers(500, 5_000, n))
    time = 1_700_000_000 + np.sort(rng.integers(0, 42 * 86_400, n))
    folder = tmp_path_factory.mktemp("world")
    table = pa.table(
        {
            "TIME": time,
            "SHOP": [f"s{i}" for i in shop],
            "AMOUNT": amount,
            "FRAUD": fraud.astype(int),
            "REGION": region,
            "TWIN": np.where(large, "large", "small"),
            "COIN": np.array(["heads", "tails"])[rng.integers(0, 2, n)],
        }
    )
    pq.write_table(table, folder / "world.parquet")
    for name, slices in (("with", SLICES), ("without", "")):
        (folder / f"{name}.toml").write_text(config_text(slices))
        (folder / f"{name}").mkdir()
        args = (folder / "world.parquet", "--config", folder / f"{name}.toml", "--name", "run")
        tinyfin("train", *args, "--out", folder / name)
        tinyfin("quantize", folder / name / "run")
    return {
        "data": folder / "world.parquet",
        "run": folder / "with" / "run",
        "bare": folder / "without" / "run",
        "config": folder / "with.toml",
    }


@pytest.fixture(scope="module")
def found(world: dict[str, Path]) -> dict[str, object]:
    gate = world["data"].with_name("gate.toml")
    gate.write_text(
        '[gate]\n"groups.region.worst.false_alert_ratio_at_least" = {max = 1.2}\n'
        '"groups.coin.worst.false_alert_ratio_at_least" = {max = 1.2}\n'
        '"groups.region.worst.recall_ratio_at_most" = {min = 0.8}\n'
    )
    result = tinyfin("evaluate", world["run"], "--gate", gate, code=4)
    assert "groups.region.worst.false_alert_ratio_at_least is" in result.output
    assert "region: south has at least" in result.output
    facts: dict[str, object] = json.loads((world["run"] / "evaluation.json").read_text())
    return facts


# ------------------------------------------------------------------------------------- intervals


def test_the_interval_is_that_of_a_published_example() -> None:
    """Agresti, Categorical Data Analysis, 2nd edition, section 3.1.4: heart attacks among
    physicians, 189 of 11,034 with placebo and 104 of 11,037 with aspirin: 1.82, 1.43 to 2.30."""
    found = risk_ratio(Counts(189, 11_034, 104, 11_037))
    assert [round(x, 2) for x in (found.ratio, found.low, found.high)] == [1.82, 1.43, 2.31]
    # log 1.8178 +- 1.96 * 0.1213, worked by hand: 1.4330 to 2.3059; the book cuts 2.3059 off
    assert found.low == pytest.approx(math.exp(0.5976 - 0.2378), abs=1e-3)


def test_the_interval_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        n, m = (int(x) for x in rng.integers(10, 5000, 2))
        a, c = int(rng.integers(1, n)), int(rng.integers(1, m))
        ours = risk_ratio(Counts(a, n, c, m), z=1.959963984540054)
        theirs = relative_risk(a, n, c, m)
        assert ours.ratio == pytest.approx(theirs.relative_risk)
        assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_a_cell_of_zero_counts_half_and_nothing_is_compared_with_nothing() -> None:
    found = risk_ratio(Counts(0, 10, 4, 20))
    theirs = (0.5 / 11) / (4.5 / 21)
    spread = 1.96 * math.sqrt(1 / 0.5 - 1 / 11 + 1 / 4.5 - 1 / 21)
    assert found.ratio == pytest.approx(theirs)
    assert found.high == pytest.approx(theirs * math.exp(spread))
    for counts in (Counts(0, 0, 4, 20), Counts(4, 20, 0, 0), Counts(0, 10, 0, 20)):
        assert math.isnan(risk_ratio(counts).ratio)


def test_three_rows_do_not_fail_a_gate() -> None:
    false_alerts = {"tiny": Counts(3, 3, 10, 5000), "rest": Counts(10, 5000, 3, 3)}
    detected = {"tiny": Counts(0, 3, 60, 100), "rest": Counts(60, 100, 0, 3)}
    worst = worst_ratios(false_alerts, detected)
    assert worst.false_alert_ratio_at_least <= 1
    assert worst.recall_ratio_at_most >= 1
    assert worst.recall_value is None
    # what three rows say without a fewest number
    assert risk_ratio(false_alerts["tiny"]).low > 100
    enough = worst_ratios({"a": Counts(60, 1000, 60, 3000)}, {"a": Counts(20, 60, 70, 100)})
    assert (enough.false_alert_value, enough.recall_value) == ("a", "a")
    assert enough.false_alert_ratio_at_least == pytest.approx(
        relative_risk(60, 1000, 60, 3000).confidence_interval(0.95)[0], rel=1e-3
    )
    assert enough.recall_ratio_at_most < 0.75
    nothing = worst_ratios({"a": Counts(1, 10, 0, 0)}, {"a": Counts(0, 0, 0, 0)})
    assert math.isnan(nothing.false_alert_ratio_at_least)
    assert math.isnan(nothing.recall_ratio_at_most)


def test_chance_makes_no_worst_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve values that are all alike: one is taken for worse in at most one of twenty worlds."""
    rng = np.random.default_rng(3)

    def share_of_worlds_with_a_worst_value() -> float:
        worse = 0
        for alerts in rng.binomial(3000, 0.01, (300, 12)).tolist():
            values = {
                str(i): Counts(a, 3000, sum(alerts) - a, 33_000) for i, a in enumerate(alerts)
            }
            worse += worst_ratios(values, {}).false_alert_ratio_at_least > 1
        return worse / 300

    assert share_of_worlds_with_a_worst_value() <= 0.06
    monkeypatch.setattr(ratios, "_z", lambda values: 1.96)
    assert share_of_worlds_with_a_worst_value() > 0.12


# --------------------------------------------------------------------------------------- proxies


def test_a_weighted_area_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    score = rng.integers(0, 20, 400).astype(float)
    positive = rng.random(400) < 0.3
    weight = rng.integers(0, 4, (5, 400)).astype(float)
    theirs = [roc_auc_score(positive, score, sample_weight=w) for w in weight]
    assert replicated_auc(score, positive, weight) == pytest.approx(theirs)
    assert math.isnan(replicated_auc(score, positive, np.array([positive * 1.0]))[0])


def test_a_copy_of_a_feature_is_told_and_a_coin_is_not() -> None:
    rng = np.random.default_rng(4)
    n = 2000
    features = rng.integers(-100, 100, (n, 4)).astype(np.int16)
    terminal = rng.integers(0, 30, n).astype(np.int32)
    rows = np.arange(n)

    def told(code: np.ndarray, values: tuple[str, ...]) -> object:
        return proxy_figures(
            features, ["a", "b", "c", "d"], Group("X", values, code), rows, terminal, 1
        )

    copy = told(np.digitize(features[:, 2], [-30, 30]), ("low", "middle", "high"))
    assert copy.roc_auc > 0.98
    assert copy.interval[0] > 0.97
    assert copy.features[0].feature == "c"
    assert copy.held_out == "terminals"
    coin = told(rng.integers(0, 2, n), ("heads", "tails"))
    assert abs(coin.roc_auc - 0.5) < 0.05
    assert coin.interval[0] < 0.5 < coin.interval[1]
    # what is told of a terminal must be told of others: one value per terminal tells nothing
    names = tuple(map(str, range(30)))
    assert told(terminal.astype(np.int64), names) is None


# ------------------------------------------------------------------------------- from file to page


def test_a_region_with_twice_the_false_alerts_is_found(found: dict[str, object]) -> None:
    region = found["groups"]["region"]
    south = region["values"]["south"]
    assert 1.6 < south["false_alert_ratio"]["ratio"] < 2.6
    assert region["worst"]["false_alert_value"] == "south"
    assert region["worst"]["false_alert_ratio_at_least"] > 1.2
    assert region["worst"]["recall_value"] is None or region["worst"]["recall_ratio_at_most"] > 0.8
    assert [row["ok"] for row in found["gate"]] == [False, True, True]
    shares = [v["alert_share"] for v in region["values"].values()]
    assert sum(shares) == pytest.approx(1)
    parts = [part["populations"]["all"]["model_int8"] for part in found["parts"]]
    for group in found["groups"].values():
        values = group["values"].values()
        assert sum(v["rows"] for v in values) == sum(part["rows"] for part in parts)
        assert sum(v["frauds"] for v in values) == sum(part["frauds"] for part in parts)
        alerts = sum(part["alerts"]["alerts"] for part in parts)
        assert sum(v["alerts"] for v in values) == alerts


def test_a_region_s_figures_are_those_of_its_rows(
    world: dict[str, Path], found: dict[str, object]
) -> None:
    """Counted from the verdicts of the fold and the file, row by row."""
    alert = np.zeros(0, bool)
    for part in sorted((world["run"] / "evaluation" / "prequential").iterdir()):
        with np.load(part / "verdicts.npz") as file:
            alert = np.concatenate([alert, file["advice"] > 0])
    rows = pq.read_table(world["data"]).to_pylist()
    begin, end = (
        np.datetime64(part[key]).astype("datetime64[s]").astype(int)
        for part, key in ((found["parts"][0], "begin"), (found["parts"][1], "end"))
    )
    tested = [row for row in rows if begin <= row["TIME"] < end]
    assert len(tested) == len(alert)
    counts = {True: [0, 0, 0, 0], False: [0, 0, 0, 0]}
    for row, alerted in zip(tested, alert.tolist(), strict=True):
        own = counts[row["REGION"] == "south"]
        own[2 * row["FRAUD"]] += alerted
        own[2 * row["FRAUD"] + 1] += 1
    south = found["groups"]["region"]["values"]["south"]
    for key, at in (("false_alert_ratio", 0), ("recall_ratio", 2)):
        theirs = relative_risk(*counts[True][at : at + 2], *counts[False][at : at + 2])
        low, high = theirs.confidence_interval(0.95)
        ours = [south[key][k] for k in ("ratio", "low", "high")]
        assert ours == pytest.approx([theirs.relative_risk, low, high], rel=1e-4)


def test_card_and_page_say_which_features_are_proxies(
    world: dict[str, Path], found: dict[str, object]
) -> None:
    twin, coin = (found["groups"][name]["proxies"] for name in ("twin", "coin"))
    assert twin["roc_auc"] > 0.99
    assert twin["features"][0]["feature"] == "amt_log"
    assert abs(coin["roc_auc"] - 0.5) < 0.05
    card = " ".join((world["run"] / "MODEL_CARD.md").read_text().split())
    assert "## Groups" in card
    assert "they are proxies of it" in card
    assert "The features are not shown to tell it" in card
    page = (world["run"] / "evaluation.html").read_text()
    assert "By group of your own" in page
    assert "south has at least" in page


def test_no_byte_of_a_pack_depends_on_the_groups(
    world: dict[str, Path], found: dict[str, object], tmp_path: Path
) -> None:
    packs = [(world[run] / "model.tfpack").read_bytes() for run in ("run", "bare")]
    assert packs[0] == packs[1]
    texts = [(world[run] / "config.toml").read_text() for run in ("run", "bare")]
    assert "REGION" in texts[0]
    own = parse_pack(packs[0]).lineage["config"]
    assert [own == hashlib.sha256(text.encode()).hexdigest() for text in texts] == [False, True]
    bare = tmp_path / "bare"
    shutil.copytree(world["bare"], bare)
    tinyfin("evaluate", bare)
    facts = json.loads((bare / "evaluation.json").read_text())
    assert facts["groups"] == {}
    assert facts["parts"] == found["parts"]
    # named on the command line, the same groups give the same figures, and nothing is learned again
    again = tinyfin("evaluate", bare, "--slices", "region=REGION,twin=TWIN,coin=COIN")
    assert again.output.count("kept from before") == 2
    assert json.loads((bare / "evaluation.json").read_text())["groups"] == found["groups"]


@pytest.mark.parametrize(
    ("slices", "without"),
    [
        (
            "[evaluate]\nweeks = 2\nslices = {a = 'b'}\nseeds = 1\n",
            "[evaluate]\nweeks = 2\nseeds = 1\n",
        ),
        ("[evaluate]\nslices.a = 'b'\n\n[train]\nuntil = 3\n", "[train]\nuntil = 3\n"),
        ("[train]\n\n[evaluate.slices]\na = 'b'\n", "[train]\n"),
        ("[evaluate.slices]\na = 'b'\n\n[features.cuts]\nx = 1\n", "[features.cuts]\nx = 1\n"),
        ("[evaluate]\nweeks = 2\n", "[evaluate]\nweeks = 2\n"),
        # by whole lines only: this text stays, and so does its hash
        ("evaluate = {slices = {a = 'b'}}\n", "evaluate = {slices = {a = 'b'}}\n"),
    ],
)
def test_the_text_that_a_pack_comes_from_has_no_slices(slices: str, without: str) -> None:
    assert without_slices(slices) == without


# -------------------------------------------------------------------------------------- the column


def asked(tmp_path: Path, column: str, more: str = "") -> Config:
    path = tmp_path / "t.toml"
    path.write_text(DATA + more + f'[evaluate]\nslices = {{place = "{column}"}}\n')
    return load(path)


HEAD = "TIME,SHOP,AMOUNT,FRAUD,PLACE"


def test_rows_find_their_values_behind_bad_rows_and_in_the_next_file(
    csv: Callable[..., Path], tmp_path: Path
) -> None:
    one = csv(
        HEAD,
        "1700000000,s,100,0,a",
        "1700000001,s,100,0,b,too,many",
        "1700000002,s,not a number,0,c",
        "1700000003,s,100,0,d",
        name="one.csv",
    )
    two = csv(HEAD, "1700000004,s,100,0,", "1700000005,s,100,0,e", name="two.csv")
    config = asked(tmp_path, "PLACE")
    tx = read([one, two], config, skip_bad_rows=tmp_path / "bad.csv")
    side = read_side_columns([one, two], {"k": "PLACE"}, config.data, tx.row)["k"]
    assert [side.words[c] if c >= 0 else None for c in side.code] == ["a", "d", None, "e"]
    group = read_groups(config, [one, two], tx)["place"]
    assert [group.values[c] for c in group.code] == ["a", "d", "missing", "e"]


def test_the_most_frequent_values_stand_alone_and_the_rest_together(
    csv: Callable[..., Path], tmp_path: Path
) -> None:
    words = [f"v{i}" for i in range(15) for _ in range(20 - i)] + ["", "NA"]
    path = csv(HEAD, *(f"{1_700_000_000 + i},s,1,0,{w}" for i, w in enumerate(words)))
    config = asked(tmp_path, "PLACE")
    group = read_groups(config, [path], read([path], config))["place"]
    assert group.values == (*(f"v{i}" for i in range(12)), "other", "missing")
    assert np.bincount(group.code).tolist() == [*range(20, 8, -1), 8 + 7 + 6, 2]


def test_what_is_no_group_is_refused(csv: Callable[..., Path], tmp_path: Path) -> None:
    path = csv(HEAD, *(f"{1_700_000_000 + i},s,1,0,{i / 2}" for i in range(60)), name="n.csv")
    config = asked(tmp_path, "PLACE")
    with pytest.raises(DataError, match=r"holds 60 different numbers.*write a column of ranges"):
        read_groups(config, [path], read([path], config))
    wrong = asked(tmp_path, "PLACES")
    says = r"n\.csv: has no column 'PLACES', wanted for evaluate\.slices\.place; did you mean "
    with pytest.raises(
        DataError, match=says + r"'PLACE'\? it has TIME, SHOP, AMOUNT, FRAUD, PLACE"
    ):
        read_groups(wrong, [path], read([path], wrong))
    cards = csv(HEAD, *(f"{1_700_000_000 + i},s,1,0,4111111111111111" for i in range(3)))
    with pytest.raises(DataError, match="holds card numbers"):
        read_groups(config, [cards], read([cards], config))


def test_errors_come_before_the_work(world: dict[str, Path], tmp_path: Path) -> None:
    run = world["bare"]
    refused = tinyfin("evaluate", run, "--slices", "region=REGON", code=3).output
    assert "did you mean 'REGION'?" in refused
    assert "--slices" in tinyfin("evaluate", run, "--slices", "REGION", code=2).output
    gate = tmp_path / "gate.toml"
    gate.write_text('[gate]\n"groups.regon.worst.recall_ratio_at_most" = {min = 0.8}\n')
    refused = tinyfin("evaluate", run, "--slices", "region=REGION", "--gate", gate, code=3).output
    assert "did you mean 'region'?" in refused
    assert "known are none" in tinyfin("evaluate", run, "--gate", gate, code=3).output


# ------------------------------------------------------------- who is declined more, and why


def test_interventions_are_those_of_the_groups(
    world: dict[str, Path], found: dict[str, object]
) -> None:
    by_value = {(i["kind"], i["value"]): i for i in found["interventions"]}
    south, large = by_value["region", "south"], by_value["twin", "large"]
    assert south["online_ratio"]["low"] > 1
    assert by_value["region", "north"]["explained"] == "not more"
    # its large amounts are genuine twice as often, and the score cannot know
    ratios = {k: i["observed_to_expected"]["ratio"] for k, i in by_value.items()}
    assert all(ratios["region", r] > 1.5 * ratios["region", "south"] for r in ("north", "east"))
    assert (large["explained"], large["online_ratio"]["low"] > 5) == ("by its frauds", True)
    groups = found["groups"]["region"]["values"]
    for value, own in groups.items():
        one = by_value["region", value]
        alerts = (one["online_per_1000"] + one["declined_per_1000"]) * one["rows"] / 1000
        assert (one["rows"], one["frauds"]) == (own["rows"], own["frauds"])
        assert alerts == pytest.approx(own["alerts"])
    detected = sum(v["alerts"] and v["recall"] * v["frauds"] for v in groups.values())
    above = found["pooled"]["expected_and_observed"]["all"]["above_threshold"]
    assert detected == pytest.approx(above["observed"])
    expected = sum(
        v["recall"] * v["frauds"] / by_value["region", name]["observed_to_expected"]["ratio"]
        for name, v in groups.items()
    )
    assert expected == pytest.approx(above["expected"])
    card = " ".join((world["run"] / "MODEL_CARD.md").read_text().split())
    assert "## Who is sent online or declined more" in card
    assert "| region: south |" in card


def test_one_feature_gives_one_reason_whoever_ranks(found: dict[str, object]) -> None:
    """Amounts are all that this model sees, so no ranking can disagree."""
    told = found["reasons"]
    assert told["first"] == told["three"] == 1.0
    assert told["alerts"] == 100 < told["of_alerts"]
    assert told["first_interval"][0] == pytest.approx(100 / 103.84, abs=1e-3)  # Wilson, by hand


@pytest.mark.parametrize(
    ("frauds", "alerted", "says"),
    [
        (0.25, 0.04, "not by its frauds"),
        (0.5, 0.04, "by its frauds"),
        (0.75, 0.04, "by its frauds"),
        (0.25, 0.02, "not more"),
    ],
)
def test_frauds_that_do_not_come_explain_nothing(
    frauds: float, alerted: float, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alerts have a probability of one half; of those of the group so many are fraud."""
    n = 20_000
    rows, own = np.arange(2 * n), np.arange(2 * n) < n
    advice = np.where(rows % n < np.where(own, alerted, 0.02) * n, 1, 0).astype(np.uint8)
    label = (advice > 0) & (rows % 100 < np.where(own, frauds, 0.5) * 100)
    tx = SimpleNamespace(label=label.astype(np.int8))
    fold = SimpleNamespace(rows=rows, advice=advice, calibrated=True)

    def promised(tx: object, scored: object, masks: list[np.ndarray]) -> object:
        (mask,) = masks
        expected, half = 0.5 * mask.sum(), 1.96 * math.sqrt(0.25 * mask.sum())
        return SimpleNamespace(
            expected=expected,
            low=expected - half,
            high=expected + half,
            observed=int(label[mask].sum()),
        )

    monkeypatch.setattr(interventions, "promised", promised)
    monkeypatch.setattr(interventions, "slices_of", lambda tx, rows: ())
    group = Group("ORIGIN", ("abroad", "here"), (~own).astype(np.int64))
    abroad, here = interventions.interventions(tx, [fold], {"origin": group})  # type: ignore[arg-type, list-item]  # stand for both
    assert abroad.explained == says
    assert here.explained == "not more"
    assert abroad.observed_to_expected.ratio == pytest.approx(frauds / 0.5)
    theirs = relative_risk(int(advice[own].sum()), n, int(advice[~own].sum()), n)
    low, high = theirs.confidence_interval(0.95)
    ours = [abroad.online_ratio.ratio, abroad.online_ratio.low, abroad.online_ratio.high]
    assert ours == pytest.approx([theirs.relative_risk, low, high], rel=1e-4)
    assert math.isnan(abroad.declined_ratio.ratio), "nobody was declined"
