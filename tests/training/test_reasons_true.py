# SPDX-License-Identifier: Apache-2.0
"""What a verdict gives as a reason is true of the event, and is said once.

The truths below are written from the texts of the reasons and the definitions of the features, not
from the sides in the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tinyfin.config import DecisionSection, load
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.features.catalogue import REASONS
from tinyfin.features.definition import Feature
from tinyfin.pack.container import parse_pack
from tinyfin.quantization.workflow import assemble
from tinyfin.training.host_fields import write_host_fields
from tinyfin.training.run_folder import open_run
from tinyfin.training.workflow import train
from tinyfin.twin import Twin

MODELS = Path(__file__).parents[2] / "models"
SAMPLE = 400

Truth = Callable[[int, float], bool]


def _more_than(least: float) -> Truth:
    return lambda value, median: value > max(least, median)


def _at_least(least: float) -> Truth:
    return lambda value, median: value >= least


def _less_than(most: float) -> Truth:
    return lambda value, median: value < min(most, median)


def _other_than(usual: float) -> Truth:
    return lambda value, median: value != usual


ABSENT_S, ABSENT_CARD_H, ABSENT_LABEL_H = 32767, 2160, 672
"""What a feature says when there was no such event."""
TRUE: Mapping[int, Mapping[str, Truth]] = {
    1: {
        "amt_log": lambda value, median: value != median,
        "amt_dev": _other_than(0),
        "amt_to_mean": _other_than(64),
        "amt_to_avg": _other_than(64),
        "amt_over": _at_least(1),
    },
    2: dict.fromkeys(
        ("amt_round", "amt_small", "amt_small_16", "amt_repeat", "amt_seq"), _at_least(1)
    ),
    3: {"amt_to_floor": _more_than(0), "split_sum": _more_than(0)},
    4: {
        "gap_s": _less_than(ABSENT_S),
        **dict.fromkeys(("rate_60", "rate_900", "rate_hour"), _more_than(1)),
    },
    5: {"rate_900_dev": _at_least(1), "rate_900_dev_week": _at_least(1), "rate_day": _more_than(1)},
    6: {"hour_rare": _at_least(256 * 23 / 24), "day_rare": _at_least(256 * 6 / 7)},
    7: {
        "tok_seen_cnt": _at_least(1),
        "near_floor_repeat": _at_least(1),
        "refund_card_repeat": _at_least(1),
        "tok_known": _at_least(1),
        "card_visits": _at_least(1),
        "tok_gap_s": _less_than(ABSENT_S),
        "card_age_h": _less_than(ABSENT_CARD_H),
        **dict.fromkeys(("host_1d", "host_7d", "host_30d"), _at_least(1)),
    },
    8: {"tok_distinct_300": _more_than(1), "tok_distinct_3600": _more_than(1)},
    9: {
        "new_tok_share": _more_than(0),
        "tok_known": lambda value, median: value == 0 < median,
        "card_visits": lambda value, median: value < median,
        "card_age_h": _more_than(0),
    },
    10: {"bin_conc": _more_than(16)},
    11: {"decl_ratio_16": _more_than(0), "decl_run": _more_than(0)},
    12: {"decl_inv": _at_least(1)},
    13: {"decl_hard": _at_least(1)},
    14: {"appr_after_decl": _at_least(1)},
    15: {"entry_risk": _at_least(2)},
    16: {"entry_rare": _at_least(256 * 6 / 7)},
    17: {
        "fb_rate": _at_least(1),
        "fb_16": _at_least(1),
        "chip_fails": _at_least(1),
        "chip_fail_then": _less_than(ABSENT_S),
    },
    18: {"keyed_run": _at_least(2)},
    19: {"cvm_weak": _at_least(3)},
    20: {"tvr_pop": _at_least(1)},
    21: {"atc_back": _at_least(1), "atc_jump": _more_than(1)},
    22: {
        "refund_ratio": _more_than(0),
        "refund_cnt_day": _more_than(0),
        "amt_refund_log": _more_than(0),
        "refund_log": _more_than(0),
    },
    23: {"refund_unlinked": _at_least(1)},
    24: {"refund_first": _at_least(1)},
    25: {"void_quick": _less_than(ABSENT_S)},
    26: {"forced_reuse": _at_least(1)},
    27: {"offline_run": _at_least(2)},
    28: {"saf_fill": _more_than(0), "saf_log": _more_than(0)},
    29: {"link_flap": _at_least(1)},
    30: {"clk_back": _at_least(1)},
    31: {"stan_gap": _at_least(1)},
    32: {"boot_recent": _at_least(1), "boot_gap_s": _less_than(ABSENT_S)},
    33: {"tamper_bits": _at_least(1)},
    34: {"op_change": _at_least(1)},
    35: {
        **dict.fromkeys(
            (
                "known_last",
                "known_run",
                "known_rate_7d",
                "known_rate_14d",
                "known_rate_28d",
                "known_run2_28d",
                "known_run1_28d",
                "known_frauds_28d",
            ),
            _at_least(1),
        ),
        "known_run_age_h": _less_than(ABSENT_LABEL_H),
        "known_fraud_age_h": _less_than(ABSENT_LABEL_H),
    },
    36: dict.fromkeys(("card_known_last", "card_known_frauds_28d", "host_frauds"), _at_least(1)),
    37: dict.fromkeys(
        ("amt_to_card_mean", "amt_to_card_avg", "amt_to_host_mean", "amt_to_host_week"),
        _other_than(64),
    ),
    39: {"exp_spread": _at_least(2)},
    40: dict.fromkeys(
        ("expected_frauds_1h", "expected_frauds_1d", "card_expected_frauds_7d"), _more_than(0)
    ),
    41: {"host_rise": _more_than(64)},
    42: {"exceptions_8h": _more_than(1)},
}


@dataclass(frozen=True)
class Alerts:
    """A sample of the alerts of one pack."""

    pack: bytes
    names: tuple[str, ...]
    features: npt.NDArray[np.int16]
    medians: npt.NDArray[np.float64]
    reasons: list[list[int]]

    def contributions(self) -> Iterator[npt.NDArray[np.int64]]:
        """Per alert: raw less raw with each input at its reference, by the network alone."""
        pack, twin = parse_pack(self.pack), Twin(self.pack)
        assert pack.decision is not None
        codes = np.stack(
            [m.evaluate(self.features[:, i]) for i, m in enumerate(pack.maps or ())], axis=1
        )
        for code in codes:
            changed = np.repeat(code[None, :], len(code) + 1, axis=0)
            np.fill_diagonal(changed, pack.decision.references)
            raw = twin.infer(np.ascontiguousarray(changed))[1].astype(np.int64)
            yield raw[-1] - raw[:-1]

    def untrue(self) -> list[tuple[str, dict[str, int]]]:
        """Reasons that no feature which raised the score bears out, with what the features say."""
        found = []
        for values, reasons, raised in zip(
            self.features.tolist(), self.reasons, self.contributions(), strict=True
        ):
            said = dict(zip(self.names, values, strict=True))
            median = dict(zip(self.names, self.medians.tolist(), strict=True))
            up = {name for name, by in zip(self.names, raised, strict=True) if by > 0}
            for reason in reasons:
                speaks = TRUE[reason].keys() & up
                if not any(TRUE[reason][name](said[name], median[name]) for name in speaks):
                    found.append((REASONS[reason], {name: said[name] for name in speaks}))
        return found


def alerts_of(pack: bytes, config_path: Path, data: Path) -> Alerts:
    """Alerts in the last two thirds of some transactions."""
    config = load(config_path)
    tx = read([data], config)
    found = Twin(pack, terminals=len(tx.terminals)).run(tx, event_stream(tx, config.data.notices))
    start = tx.t_mono_s.min() + 10 * 86_400
    late = np.flatnonzero(tx.t_mono_s >= start)
    alert = late[found.reason_count[late] > 0]
    rows = alert[np.linspace(0, len(alert) - 1, min(SAMPLE, len(alert))).astype(int)]
    counts = found.reason_count[rows]
    meta = parse_pack(pack).meta
    return Alerts(
        pack,
        tuple(meta["features"]),
        found.features[rows],
        np.median(found.features, axis=0),
        [row[:count].tolist() for row, count in zip(found.reasons[rows], counts, strict=True)],
    )


def trained(data: Path, names: str, folder: Path, more: str = "") -> Path:
    """A run of many features: tables of density, to which both ends of a feature are rare, and a
    budget of many alerts."""
    config = folder / "tinyfin.toml"
    config.write_text(
        f'[features]\nnames = {names}\ncard_labels = 4\n[model]\nfamily = "density"\n'
        f"[decision]\ngo_online_per_1000 = 150\n[evaluate]\nbaselines = []\n{more}"
    )
    run = train([data], load(config), name="many", out=folder)
    made = assemble(run, (run.path / "model.json").read_bytes(), run.facts(), run.slices())
    run.pack.write_bytes(made.pack)
    return run.path


@pytest.fixture(scope="module")
def everything(small: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all features of the catalogue that a terminal alone feeds."""
    return trained(small["data"], '"all"', tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def host_town(unseen_town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unseen town with what a host knows."""
    path = tmp_path_factory.mktemp("host_town") / "host.parquet"
    write_host_fields([unseen_town], load(None), path)
    return path


@pytest.fixture(scope="module")
def host(host_town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of what a host knows, and of nothing else."""
    folder = tmp_path_factory.mktemp("host")
    return trained(host_town, '["host"]', folder, '[schema]\nextends = "payment_host"\n')


def of_everything(run: Path, data: Path, pack: bytes | None = None) -> Alerts:
    """Its alerts, and the medians that training itself had."""
    folder = open_run(run)
    found = alerts_of(pack or folder.pack_bytes(), run / "config.toml", data)
    medians = folder.slices()["medians"].astype(np.float64)
    return Alerts(found.pack, found.names, found.features, medians, found.reasons)


@pytest.fixture(scope="module", params=["payment", "label_free", "small", "everything", "host"])
def alerts(
    request: pytest.FixtureRequest,
    small: dict[str, Path],
    everything: Path,
    host: Path,
    unseen_town: Path,
    host_town: Path,
) -> Alerts:
    if request.param == "everything":
        return of_everything(everything, unseen_town)
    if request.param == "host":
        return of_everything(host, host_town)
    if request.param == "small":
        return alerts_of(open_run(small["run"]).pack_bytes(), small["config"], unseen_town)
    folder = MODELS / request.param
    pack = (folder / "model.tfpack").read_bytes()
    return alerts_of(pack, folder / "tinyfin.toml", unseen_town)


def test_every_reason_has_its_truth() -> None:
    assert set(TRUE) == set(REASONS) - {38}


def test_reasons_are_distinct_and_given(alerts: Alerts) -> None:
    assert len(alerts.reasons) >= 40
    assert all(len(set(given)) == len(given) for given in alerts.reasons)
    texts = [[REASONS[r] for r in given] for given in alerts.reasons]
    assert all(len(set(given)) == len(given) for given in texts)
    # a host's eight features have four reasons
    least = 2 if len(alerts.names) > 8 else 1
    assert np.mean([len(given) for given in alerts.reasons]) > least


def test_reasons_are_true_of_the_event(alerts: Alerts) -> None:
    untrue = alerts.untrue()
    assert not untrue, (len(untrue), untrue[:5])


def test_the_order_is_that_of_the_strongest_feature_of_each(
    everything: Path, small: dict[str, Path]
) -> None:
    found = of_everything(everything, small["data"])
    decision = parse_pack(found.pack).decision
    maps = parse_pack(found.pack).maps
    assert decision is not None
    assert maps is not None
    repeated = 0
    for values, given, raised in zip(
        found.features, found.reasons, found.contributions(), strict=True
    ):
        strongest: dict[int, int] = {}
        ranked = []
        for i in np.argsort(-raised, kind="stable"):
            code = int(maps[i].evaluate(values[i : i + 1])[0])
            above = code > decision.references[i]
            reason = decision.reasons[i] if above else decision.below[i]
            if raised[i] > 0 and reason:
                ranked.append(reason)
                strongest.setdefault(reason, int(raised[i]))
        assert given == list(strongest)[:3]
        repeated += len(set(ranked[:3])) < len(ranked[:3])
    # the three strongest features would say one thing twice in many alerts
    assert repeated > len(found.reasons) / 10


def test_the_hosts_reasons_are_given(host: Path, host_town: Path) -> None:
    given = {reason for row in of_everything(host, host_town).reasons for reason in row}
    assert given == {7, 36, 37, 41}


@pytest.mark.parametrize("which", ["everything", "host"])
def test_reasons_on_both_sides_would_be_untrue(
    which: str,
    everything: Path,
    host: Path,
    small: dict[str, Path],
    host_town: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control: every feature's reason on both sides of its median, as packs had it."""
    monkeypatch.setattr(Feature, "reasons", property(lambda self: (self.reason, self.reason)))
    monkeypatch.setattr(Feature, "usual", lambda self, median: median)
    folder, data = {"everything": (everything, small["data"]), "host": (host, host_town)}[which]
    run = open_run(folder)
    old = assemble(
        run,
        (run.path / "model.json").read_bytes(),
        run.facts(),
        run.slices(),
        section=DecisionSection(go_online_per_1000=150),
    ).pack
    untrue = of_everything(folder, data, old).untrue()
    assert len({text for text, _ in untrue}) >= (5 if which == "everything" else 2)
    assert len(untrue) > 50
