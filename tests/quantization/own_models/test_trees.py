# SPDX-License-Identifier: Apache-2.0
"""Trees of scikit-learn, XGBoost and LightGBM: their own scores, on every code; and what no
terminal runs is refused by its name."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, PowerTransformer, StandardScaler
from skops.io import dump

from tests.quantization.own_models.rows import (
    MAPS,
    NAMES,
    codes,
    data,
    every_code,
    features,
    inputs,
    labels,
)
from tinyfin.errors import ModelError
from tinyfin.oracle.terms import terms_network
from tinyfin.pack.integer_model import Forest
from tinyfin.pack.integer_plan import compile_integer_plan
from tinyfin.pack.readout import Readout
from tinyfin.quantization.own_models.ensemble import Ensemble, Tree, fitted
from tinyfin.quantization.own_models.run_inputs import Meaning
from tinyfin.quantization.own_models.xgboost_file import _LOGISTIC, _PLAIN
from tinyfin.quantization.own_network import read_file
from tinyfin.training.families import FittedIntegers, codes_to_float
from tinyfin.twin import NetworkTwin

QUIET = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 3}


def taken(
    path: Path, meaning: Meaning = "scaled", note: Callable[[str], None] = lambda _: None
) -> FittedIntegers:
    found = read_file(path, note=note)
    assert isinstance(found, Ensemble)
    return fitted(found, inputs(meaning), str(path), note)


def check(found: FittedIntegers, x: NDArray[np.int8], expected: NDArray[np.floating]) -> None:
    """The float score is the library's; the integer one, of oracle and twin alike, is as near as
    half a step of each leaf allows."""
    score = found.score(x)
    np.testing.assert_allclose(score, expected, atol=1e-5, rtol=1e-5)
    forest = found.model
    assert isinstance(forest, Forest)
    some = x[:: max(1, len(x) // 300)]
    oracle = terms_network(forest.encode())
    raw = np.array([oracle(row.tolist())[1][0] for row in some])
    twin = NetworkTwin(compile_integer_plan(forest), Readout.accumulator(0, 0).encode())
    assert np.array_equal(twin.infer(np.ascontiguousarray(some))[1], raw)
    step, place = np.polyfit(raw, score[:: max(1, len(x) // 300)].astype(np.float64), 1)
    off = np.abs(raw * step + place - score[:: max(1, len(x) // 300)])
    assert off.max() <= 0.51 * step * len(forest.leaf) + 1e-5


SKLEARN: dict[str, Any] = {
    "random forest": RandomForestClassifier(15, max_depth=6, random_state=1),
    "isolation forest": IsolationForest(
        n_estimators=20, max_samples=100, max_features=0.6, random_state=1
    ),
    "histogram boosting": HistGradientBoostingClassifier(max_iter=15, max_depth=5),
    "scaled forest": make_pipeline(
        StandardScaler(), RandomForestClassifier(10, max_depth=7, random_state=2)
    ),
    "scaled boosting": make_pipeline(
        MinMaxScaler(clip=True), HistGradientBoostingClassifier(max_iter=15, max_depth=5)
    ),
}


@pytest.mark.parametrize("meaning", ["scaled", "codes"])
@pytest.mark.parametrize("name", SKLEARN)
def test_scikit_learns_own_scores(name: str, meaning: Meaning, tmp_path: Path) -> None:
    x, scaled, y = data()
    every = every_code()
    estimator = SKLEARN[name]
    estimator.fit(*((x, y) if meaning == "codes" else (scaled, y)))
    dump(estimator, tmp_path / "own.skops")
    seen = every if meaning == "codes" else codes_to_float(every)
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(last, IsolationForest):
        expected = np.log2(-estimator.score_samples(seen))
    elif isinstance(last, HistGradientBoostingClassifier):
        expected = estimator.decision_function(seen)
    else:
        expected = estimator.predict_proba(seen)[:, 1]
    check(taken(tmp_path / "own.skops", meaning), every, expected)


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboosts_own_margins(booster: str, suffix: str, tmp_path: Path) -> None:
    _, scaled, y = data()
    order = [2, 0, 3, 1]  # columns are found by name
    named = [NAMES[j] for j in order]
    options = {"objective": "binary:logistic", "max_depth": 5, "booster": booster, "nthread": 1}
    if booster == "dart":
        options["rate_drop"] = 0.4
    own = xgboost.train(
        options, xgboost.DMatrix(scaled[:, order], y, feature_names=named), num_boost_round=12
    )
    own.save_model(tmp_path / f"own.{suffix}")
    every = every_code()
    rows = xgboost.DMatrix(codes_to_float(every)[:, order], feature_names=named)
    check(taken(tmp_path / f"own.{suffix}"), every, own.predict(rows, output_margin=True))


@pytest.mark.parametrize("objective", [*_LOGISTIC, *_PLAIN])
def test_xgboosts_own_margins_of_every_objective(objective: str, tmp_path: Path) -> None:
    """With the base score that XGBoost estimates, and with a given one."""
    _, scaled, y = data()
    every = every_code()[::5]
    for given_ in ({}, {"base_score": 0.3}):
        rows = xgboost.DMatrix(scaled, y)
        if objective.startswith("rank:"):
            rows.set_group([50] * (len(y) // 50))
        own = xgboost.train(
            {"objective": objective, "max_depth": 3, "nthread": 1, **given_}, rows, 4
        )
        seen = xgboost.DMatrix(codes_to_float(every))
        expected = own.predict(seen, output_margin=True)
        for suffix in ("json", "ubj"):
            own.save_model(tmp_path / f"own.{suffix}")
            score = taken(tmp_path / f"own.{suffix}").score(every)
            np.testing.assert_allclose(score, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("boosting", ["gbdt", "dart", "rf"])
def test_lightgbms_own_raw_scores(boosting: str, tmp_path: Path) -> None:
    x, _, y = data()
    options = {"objective": "binary", "boosting": boosting, "max_depth": 6, **QUIET}
    if boosting == "rf":
        options |= {"bagging_freq": 1, "bagging_fraction": 0.5}
    own = lightgbm.train(options, lightgbm.Dataset(x, y, feature_name=list(NAMES)), 12)
    own.save_model(tmp_path / "own.txt")
    (tmp_path / "own.json").write_text(json.dumps(own.dump_model()))
    every = every_code()
    expected = own.predict(every, raw_score=True)
    for file in ("own.txt", "own.json"):
        check(taken(tmp_path / file, "codes"), every, expected)


def test_a_split_one_code_aside_is_noticed(tmp_path: Path) -> None:
    """The control of the tests above."""
    _, scaled, y = data()
    own = xgboost.train({"max_depth": 3}, xgboost.DMatrix(scaled, y), 5)
    own.save_model(tmp_path / "own.json")
    file = json.loads((tmp_path / "own.json").read_text())
    for tree in file["learner"]["gradient_booster"]["model"]["trees"]:
        tree["split_conditions"] = [
            v if leaf < 0 else v + 1 / 64
            for v, leaf in zip(tree["split_conditions"], tree["left_children"], strict=True)
        ]
    (tmp_path / "own.json").write_text(json.dumps(file))
    every = every_code()
    expected = own.predict(xgboost.DMatrix(codes_to_float(every)), output_margin=True)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(taken(tmp_path / "own.json"), every, expected)


def test_trees_on_features_are_exact_where_a_code_ends_at_each_split(tmp_path: Path) -> None:
    raw = features()
    y = labels(codes(raw))
    told: list[str] = []
    own = RandomForestClassifier(10, max_depth=4, random_state=1)
    # a has a code per value, c a code per value and codes without; b and d share codes
    for used, exact in (([0, 2], True), ([0, 1, 2, 3], False)):
        kept = np.where(np.isin(np.arange(4), used), raw, 0)
        # beyond the ends of a map all values share a code
        kept = np.clip(kept, [m.x[0] for m in MAPS], [m.x[-1] for m in MAPS])
        own.fit(kept, y)
        dump(own, tmp_path / "own.skops")
        found = taken(tmp_path / "own.skops", "features", told.append)
        score, expected = found.score(codes(kept)), own.predict_proba(kept)[:, 1]
        if exact:
            np.testing.assert_allclose(score, expected, atol=1e-5)
            assert not told
        else:
            assert np.abs(score - expected).max() > 0.01
            assert np.mean(np.abs(score - expected)) < 0.02, "a split moves within one code"
    assert len(told) == 1
    assert "the split moved to where one does: b, d" in told[0]


@st.composite
def grown(draw: st.DrawFn) -> tuple[Tree, bool]:
    """A tree of any shape on four inputs, thresholds on, between and beyond the codes."""
    nodes: list[list[float]] = []

    def grow(level: int) -> int:
        at = len(nodes)
        nodes.append([0, 0.0, -1, -1, draw(st.integers(-9, 9))])
        if level < 5 and draw(st.booleans()):
            threshold = draw(st.integers(-265, 265)) / 2 / 64
            left, right = grow(level + 1), grow(level + 1)
            nodes[at][:4] = [draw(st.integers(0, 3)), threshold, left, right]
        return at

    grow(0)
    table = np.array(nodes)
    whole = table.astype(np.int64)
    tree = Tree(whole[:, 0], table[:, 1], whole[:, 2], whole[:, 3], table[:, 4])
    return tree, draw(st.booleans())


@settings(max_examples=60)
@given(st.lists(grown(), min_size=1, max_size=4))
def test_any_tree_is_walked_alike(trees: list[tuple[Tree, bool]]) -> None:
    below = trees[0][1]
    found = fitted(
        Ensemble(tuple(tree for tree, _ in trees), 4, base=0.5, below=below),
        inputs(),
        "own",
        lambda _: None,
    )

    def walk(tree: Tree, row: NDArray[np.float64]) -> float:
        node = 0
        while tree.left[node] >= 0:
            x, threshold = row[tree.feature[node]], tree.threshold[node]
            left = x < threshold if below else x <= threshold
            node = tree.left[node] if left else tree.right[node]
        return float(tree.value[node])

    every = every_code()[::7]
    expected = [0.5 + sum(walk(tree, row / 64) for tree, _ in trees) for row in every.astype(float)]
    assert found.score(every).tolist() == expected


def test_what_no_terminal_runs_is_refused(tmp_path: Path) -> None:
    x, scaled, y = data()
    few = x // 20

    def refused(file: str, said: str, **options: Any) -> None:
        with pytest.raises(ModelError, match=said) as caught:
            taken(tmp_path / file, **options)
        assert str(caught.value).startswith(f"{tmp_path / file}: ")

    def skops(estimator: Any, said: str, of: NDArray[Any] = scaled, to: Any = y) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dump(estimator.fit(of, to), tmp_path / "own.skops")
        refused("own.skops", said)

    forest = RandomForestClassifier(3, max_depth=3)
    skops(RandomForestClassifier(3), "splits deep; a terminal runs at most 10: train with max_dept")
    skops(
        forest,
        r"tells \['fraud', 'genuine'\] apart; train it with the labels 0",
        to=np.where(y == 1, "fraud", "genuine"),
    )
    skops(forest, "takes 3 inputs; the run has 4", scaled[:, :3])
    skops(ExtraTreesClassifier(3), "holds a ExtraTreesClassifier; known are MLPClassifier, ")
    skops(
        make_pipeline(PowerTransformer(), forest), "PowerTransformer of the Pipeline; known are S"
    )
    by_category = HistGradientBoostingClassifier(max_iter=3, categorical_features=[2])
    skops(by_category, "without categorical features", few + 8)
    turned = StandardScaler().fit(scaled)
    turned.scale_ = -turned.scale_
    dump(make_pipeline(turned, forest.fit(scaled, y)), tmp_path / "own.skops")
    refused("own.skops", "its scaler turns an input around")

    class Own(RandomForestClassifier):
        pass

    dump(Own(3).fit(scaled, y), tmp_path / "own.skops")
    refused("own.skops", r"holds .*Own, which may run any code")
    for suffix in ("pkl", "joblib"):
        (tmp_path / f"own.{suffix}").write_bytes(pickle.dumps(forest))
        refused(f"own.{suffix}", r"none is read; write the estimator with `skops\.io\.dump\(estim")
    (tmp_path / "own.skops").write_bytes(pickle.dumps(forest))
    refused("own.skops", "skops cannot read it")

    def boosted(said: str, rounds: int = 2, of: Any = None, **options: Any) -> None:
        rows = of or xgboost.DMatrix(scaled, y)
        xgboost.train({"nthread": 1, **options}, rows, rounds).save_model(tmp_path / "own.json")
        refused("own.json", said)

    boosted("booster gblinear; a terminal runs", booster="gblinear")
    boosted("3 classes and 1 targets", objective="multi:softprob", num_class=3)
    boosted(
        "objective count:poisson with base_score .*; known are binary:l", objective="count:poisson"
    )
    boosted(
        "binary:logitraw, whose base_score is .*; train it with bin", objective="binary:logitraw"
    )
    boosted(
        "trained on features that the run does not have: e, f; train it on the run's: a, b, c, d",
        of=xgboost.DMatrix(scaled, y, feature_names=["a", "e", "f", "b"]),
    )
    boosted(
        "splits c by category; train without enable_categorical",
        of=xgboost.DMatrix(
            (few + 8).astype(np.float32),
            x[:, 2] // 40 % 2 == 0,
            feature_names=list(NAMES),
            feature_types=["q", "q", "c", "q"],
            enable_categorical=True,
        ),
        max_cat_to_onehot=1,
    )

    def leaves(said: str, names: str = "abcd", **options: Any) -> None:
        categorical = options.pop("categorical", "auto")
        rows = lightgbm.Dataset(
            few, x[:, 2] // 40 % 2, feature_name=[*names], categorical_feature=categorical
        )
        own = lightgbm.train({"objective": "binary", **QUIET, **options}, rows, 2)
        own.save_model(tmp_path / "own.txt")
        (tmp_path / "own.json").write_text(json.dumps(own.dump_model()))
        for file in ("own.txt", "own.json"):
            refused(file, said, meaning="codes")

    leaves("tree 0: splits c by category; train without categorical_feature", categorical=["c"])
    leaves("takes a value of 0 as missing .* of [abcd]; train with", zero_as_missing=True)
    leaves("its leaves are linear", linear_tree=True)
    leaves("was trained on features that the run does not have: z", names="abcz")


def test_trees_after_the_best_iteration_are_named(tmp_path: Path) -> None:
    _, scaled, y = data()
    rows = xgboost.DMatrix(scaled, y)
    own = xgboost.train({"max_depth": 2}, rows, 9, evals=[(rows, "fit")], verbose_eval=False)
    own.set_attr(best_iteration="3")
    own.save_model(tmp_path / "own.ubj")
    told: list[str] = []
    taken(tmp_path / "own.ubj", note=told.append)
    assert "all 9 trees are taken" in told[0]
    assert "booster[:4]" in told[0]
    own[:4].save_model(tmp_path / "own.ubj")
    told.clear()
    every = every_code()
    check(
        taken(tmp_path / "own.ubj", note=told.append),
        every,
        own.predict(
            xgboost.DMatrix(codes_to_float(every)), output_margin=True, iteration_range=(0, 4)
        ),
    )
    assert not told


def test_the_maps_give_every_code_its_values() -> None:
    low, high = inputs("features").values(np.arange(4), None, "own")
    every = np.arange(-32768, 32768)
    for j, of in enumerate(MAPS):
        code = of.evaluate(every)
        for c in np.unique(code).astype(int):
            values = every[code == c]
            assert (low[c + 128, j], high[c + 128, j]) == (values.min(), values.max())
