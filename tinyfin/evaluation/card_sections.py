# SPDX-License-Identifier: Apache-2.0
"""What whoever approves a model reads, for card and page: who answers for it, how stable it is,
what it rests on, what it was compared with, what it is sensitive to and what to watch.

The headings follow the Federal Reserve's SR 11-7, Guidance on Model Risk Management (2011):
conceptual soundness, ongoing monitoring, outcomes analysis. Every number is one of evaluation.json.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tinyfin.config import format_duration
from tinyfin.evaluation.fold_metrics import MAIN
from tinyfin.pages.blocks import Block, count, fixed, number, spread, table, text
from tinyfin.pages.scorers import population_name, scorer_name
from tinyfin.results.evaluation import Evaluation, Ratio
from tinyfin.results.model_risk import CardFacts, Challenger, Limit, Measure, Trend

__all__ = ["Sections", "given", "responsible", "risk_sections"]

Sections = list[tuple[str, list[Block]]]

LARGEST = 10
_FIELDS = (
    ("owner", "owner"),
    ("approved by", "approved_by"),
    ("approved on", "approved_on"),
    ("review by", "review_by"),
)
_DIRECTIONS = {
    "rises": "a higher value is riskier",
    "falls": "a lower value is riskier",
    "both": "both ways",
    "none": "no effect",
}
_WATCHED: dict[Measure, tuple[str, str]] = {
    "alerts_per_1000": ("alerts per 1,000 transactions", "see the indices below; new merchants?"),
    "false_alerts_per_1000": (
        "false alerts per 1,000 genuine",
        "repack with a lower budget, then train",
    ),
    "observed_to_expected": (
        "frauds observed / expected",
        "train again: probabilities do not hold",
    ),
    "average_precision": ("average precision, known labels", "train again; compare challengers"),
    "score_stability_index": ("stability index of the score", "look for the feature that moved"),
    "feature_stability_index": (
        "stability index, worst feature",
        "check where its fields come from",
    ),
    "without_notices_per_1000": ("rows without notices per 1,000", "repair the way of notices"),
}


def given(card: CardFacts, key: str) -> str:
    """What [card] says, or that it does not."""
    value: str | None = getattr(card, key)
    missing = f"not given: [card] {key} in tinyfin.toml"
    return missing if value is None else " ".join(value.split())


def responsible(facts: Evaluation) -> list[Block]:
    """Owner, approval, date of review."""
    return [
        table(
            "Who answers for the model",
            ["", ""],
            [[name, given(facts.card, key)] for name, key in _FIELDS],
        )
    ]


def risk_sections(facts: Evaluation) -> Sections:
    """The sections; those without facts are left out."""
    found: Sections = [
        ("Stability over time", _stability(facts)),
        ("Effect of each feature", _features(facts)),
        ("Without a group of features", _groups(facts)),
        ("Reasons and Shapley values", _reasons(facts)),
        ("Who is sent online or declined more", _interventions(facts)),
        ("Challengers and decision", _challengers(facts)),
        ("Sensitivity", _sensitivity(facts)),
        ("Monitoring", _monitoring(facts)),
    ]
    return [(title, blocks) for title, blocks in found if blocks]


def _stability(facts: Evaluation) -> list[Block]:
    s = facts.stability
    if s is None:
        return []
    rows = []
    for p in s.parts:
        expected, observed = "-", "-"
        if p.promised is not None:
            low, high = p.promised.low, p.promised.high
            expected = f"{fixed(p.promised.expected, 1)} ({spread(low, high, 1)})"
            observed = count(p.promised.observed) + ("" if p.promised.within else ", outside")
        rows.append(
            [
                p.name + (" (COLD)" if p.cold else ""),
                f"{fixed(p.average_precision)} ({spread(*p.average_precision_interval)})",
                f"{fixed(p.false_alerts_per_1000, 2)} ({spread(*p.false_alerts_interval, 2)})",
                number(p.budget_per_1000),
                expected,
                observed,
            ]
        )
    spreads = [
        ["average precision", *_trend(s.average_precision, 3)],
        ["false alerts per 1,000", *_trend(s.false_alerts_per_1000, 2)],
        ["frauds observed / expected", *_trend(s.observed_to_expected, 2)],
    ]
    return [
        text(
            f"The int8 model part by part, with 95 % intervals; average precision of "
            f"{population_name(s.population)}, all else of all cards. The budget was set before "
            "the part began; the frauds are those that the probabilities promise."
        ),
        table(
            "Part by part",
            [
                "part",
                "average precision",
                "false per 1,000",
                "budget",
                "frauds expected",
                "observed",
            ],
            rows,
        ),
        table(
            "Spread over the parts",
            ["over the parts", "lowest", "highest", "slope per part", "95 %"],
            spreads,
        ),
        text(
            "Slope: least squares over the parts in order of time, interval of Student's t. It "
            "takes three parts to have an interval (--weeks)."
        ),
    ]


def _trend(found: Trend, decimals: int) -> list[str]:
    return [
        fixed(found.lowest, decimals),
        fixed(found.highest, decimals),
        _signed(found.slope, decimals + 1),
        _signed_spread(found.interval, decimals + 1),
    ]


def _signed(value: float, decimals: int = 3) -> str:
    return f"{value:+z.{decimals}f}" if math.isfinite(value) else "-"


def _signed_spread(span: tuple[float, float], decimals: int = 3) -> str:
    low, high = span
    if not math.isfinite(low) or not math.isfinite(high):
        return "-"
    return f"{_signed(low, decimals)} to {_signed(high, decimals)}"


def _features(facts: Evaluation) -> list[Block]:
    e = facts.effects
    if e is None:
        return [
            text(
                "Not computed: no part has a fraud, or the state began with each part (--cold), "
                "and the inputs that training kept are those of a warm one."
            )
        ]
    none = sum(one.direction == "none" for one in e.features)
    return [
        text(
            f"Average precision that the int8 network loses when one of its inputs is permuted, "
            f"mean of {e.repeats} permutations and of the parts {', '.join(e.parts)}; nothing is "
            f"trained again. {count(e.rows)} of {count(e.of_rows)} test rows "
            f"({population_name(e.population)}), with {count(e.frauds)} of {count(e.of_frauds)} "
            f"frauds, weighted to the share of fraud of all: average precision "
            f"{fixed(e.average_precision)}. The {min(LARGEST, len(e.features))} largest "
            f"of {len(e.features)}; features that change no score: {none}. Features that tell "
            "the same replace each other: a small effect does not say that a feature is useless."
        ),
        table(
            "The largest effects",
            ["feature", "loss of average precision", "95 % interval", "direction"],
            [
                [f.feature, _signed(f.effect, 4), _signed_spread(f.interval, 4), _way(f.direction)]
                for f in e.features[:LARGEST]
            ],
        ),
        text(
            "Direction: of the mean score while the input grows over its deciles (partial "
            "dependence), where it never turns back by more than 1 % of its range."
        ),
    ]


def _way(direction: str) -> str:
    return _DIRECTIONS[direction]


def _groups(facts: Evaluation) -> list[Block]:
    e = facts.effects
    if e is None or not e.groups:
        return []
    return [
        text(
            "Average precision that is lost on the same rows when all inputs of a group are held "
            "at their usual values. The model is not trained again: one that was trained without "
            "the group would lose less. A feature is in every group that it needs."
        ),
        table(
            "By what features need",
            ["group", "features", "average precision", "loss", "95 % interval"],
            [
                [
                    g.group,
                    count(len(g.features)),
                    fixed(g.average_precision),
                    _signed(g.effect),
                    _signed_spread(g.interval),
                ]
                for g in e.groups
            ],
        ),
    ]


def _reasons(facts: Evaluation) -> list[Block]:
    r = facts.reasons
    if r is None:
        return [
            text(
                "Not computed: there is no alert, the state began with each part (--cold), or the "
                "extra tinyfin[explain] is not installed."
            )
        ]
    return [
        text(
            f"{count(r.alerts)} of {count(r.of_alerts)} alerts, drawn at random: the reasons of "
            "the device, which moves one feature at a time to its usual value, and those of the "
            "largest Shapley values of the same pack, which moves all combinations of features to "
            "values of usual rows. Both name only what is true of the event. Intervals resample "
            "cards."
        ),
        table(
            "How often they agree",
            ["", "share", "95 % interval"],
            [
                ["the first reason is the same", fixed(r.first), spread(*r.first_interval)],
                [
                    "of the first three by Shapley values, given by the device",
                    fixed(r.three),
                    spread(*r.three_interval),
                ],
            ],
        ),
    ]


def _interventions(facts: Evaluation) -> list[Block]:
    def cell(r: Ratio) -> str:
        span = f" ({spread(r.low, r.high, 2)})" if math.isfinite(r.high) else ""
        return f"{fixed(r.ratio, 2)}{span}"

    rows = [
        [
            f"{i.kind}: {i.value}",
            count(i.rows),
            count(i.frauds),
            number(i.online_per_1000),
            cell(i.online_ratio),
            number(i.declined_per_1000),
            cell(i.declined_ratio),
            cell(i.observed_to_expected),
            i.explained,
        ]
        for i in facts.interventions
    ]
    head = ["kind", "rows", "frauds", "online per 1,000", "ratio", "declined per 1,000"]
    return [
        text(
            "Each against all other rows. Ratios have 95 % intervals for independent rows: of "
            "twenty alike groups one lies off 1 by chance. Observed / expected: of those who were "
            "sent online or declined, frauds that came over those that the probabilities promise. "
            "Where its interval lies below 1, the group bears more than its frauds explain; where "
            "it does not, nothing says so."
        ),
        table(
            "By entry mode, merchant category and groups of your own",
            [*head, "ratio", "observed / expected", "more, explained"],
            rows,
        ),
    ] * bool(rows)


def _challengers(facts: Evaluation) -> list[Block]:
    if not facts.challengers:
        return [text("The model was compared with nothing that has an interval.")]
    own = facts.judged[facts.challengers[0].population][MAIN].average_precision
    return [
        table(
            f"The best of each kind, {population_name(facts.challengers[0].population)}; int8 "
            f"model {fixed(own)}",
            ["challenger", "kind", "average precision", "int8 leads by", "95 %, paired", "verdict"],
            [
                [
                    scorer_name(c.scorer),
                    c.kind,
                    fixed(c.average_precision),
                    _signed(c.int8_leads_by),
                    _signed_spread(c.interval),
                    c.verdict,
                ]
                for c in facts.challengers
            ],
        ),
        text(_decision(facts.challengers)),
        *_families(facts),
    ]


def _decision(found: Sequence[Challenger]) -> str:
    said = []
    for c in found:
        name, kind = scorer_name(c.scorer), "rule" if c.kind == "rule" else "learned baseline"
        words = {
            "int8 is better": "ranks better than",
            "int8 is worse": "ranks worse than",
            "not shown to differ": "is not shown to differ from",
        }[c.verdict]
        beyond = "" if c.verdict == "not shown to differ" else ", beyond chance"
        said.append(
            f"The int8 model {words} the best {kind}, {name}{beyond}; its lead is "
            f"{_signed(c.int8_leads_by)} ({_signed_spread(c.interval)})."
        )
    verdicts = {c.kind: c.verdict for c in found}
    if verdicts.get("rule") in ("int8 is worse", "not shown to differ"):
        does = "ranks better" if verdicts["rule"] == "int8 is worse" else "is not shown to be worse"
        said.append(f"These figures do not speak for the model: a rule of a line or two {does}.")
    elif verdicts.get("learned") == "int8 is worse":
        said.append(
            "These figures speak for the model only where the score has to be computed in the "
            "terminal: the baseline reads the same features and has no pack."
        )
    else:
        said.append("These figures speak for the model: nothing it was compared with is better.")
    return " ".join(said)


def _families(facts: Evaluation) -> list[Block]:
    population = facts.challengers[0].population
    rows = [
        [
            f.family + (" (this model)" if f.own else ""),
            fixed(f.populations[population].model_int8.average_precision),
            fixed(f.populations[population].standard_deviation.average_precision),
            count(f.pack_bytes),
        ]
        for f in facts.families
        if population in f.populations
    ]
    head = ["family", "average precision, int8", "standard deviation over the parts", "pack, bytes"]
    return [table("Families on the same rows", head, rows)] if len(rows) > 1 else []


def _sensitivity(facts: Evaluation) -> list[Block]:
    out: list[Block] = []
    population, means = next(iter(facts.judged.items()))
    if facts.delays:
        configured = format_duration(facts.label_delay_s or 0)
        own = [[f"{configured}, as configured", fixed(means[MAIN].average_precision)]]
        rows = own + [
            [d.delay, fixed(d.average_precision[population][MAIN])]
            for d in facts.delays
            if population in d.average_precision
        ]
        out.append(
            table(
                "Label delay: every part trained again on what is known then",
                ["delay", "average precision"],
                rows,
            )
        )
    else:
        out.append(
            text(
                "Label delay: not computed. tinyfin evaluate --protocol prequential --delays "
                "2d,14d,30d trains every week again with labels that take so long."
            )
        )
    w = facts.without_notices
    if w is None:
        return out
    if not w.features:
        return [*out, text("Missing notices: no feature of the model moves with notices.")]
    return [
        *out,
        text(
            f"Missing notices: the test rows of part {w.part} alone, scored again by a terminal "
            f"that no notice ever reaches, with the same pack and thresholds; average precision "
            f"of {population_name(w.population)}. Features "
            f"that move with notices: {', '.join(w.features)}."
        ),
        table(
            "With and without notices",
            ["figure", "with notices", "without"],
            [
                ["average precision", fixed(w.with_notices), fixed(w.average_precision)],
                ["recall at the thresholds", fixed(w.recall_with_notices), fixed(w.recall)],
                [
                    "false alerts per 1,000 genuine",
                    fixed(w.false_alerts_per_1000_with_notices, 2),
                    fixed(w.false_alerts_per_1000, 2),
                ],
                ["average precision lost, 95 %", "", _signed_spread(w.interval)],
            ],
        ),
    ]


def _monitoring(facts: Evaluation) -> list[Block]:
    rows = [
        [_WATCHED[name][0], _expected(limit), _limit(limit), _WATCHED[name][1]]
        for name, limit in facts.monitoring.items()
    ]
    if not rows:
        return []
    return [
        text(
            "tinyfin monitor compares what terminals do with limits ([monitor] in tinyfin.toml). "
            "Expected and limits are computed from the test rows of this evaluation, at its "
            "thresholds; the limits of stability indices (PSI) are those of [monitor]. Limits of "
            "shares are 95 % intervals for as many transactions as were tested here: fewer vary "
            "more. A second limit of false alerts is what the calibration rows of the last part "
            "promise."
        ),
        table("What to watch", ["measure", "expected", "limit", "what to do"], rows),
    ]


def _expected(limit: Limit) -> str:
    outside = limit.expected < limit.low or limit.expected > limit.high
    return number(limit.expected) + (" (beyond)" if outside else "")


def _limit(limit: Limit) -> str:
    low, high = math.isfinite(limit.low), math.isfinite(limit.high)
    words = (
        f"{number(limit.low)} to {number(limit.high)}"
        if low and high
        else f"at least {number(limit.low)}"
        if low
        else f"at most {number(limit.high)}"
        if high
        else "-"
    )
    second = number(limit.acts_at)
    return words if second in ("-", number(limit.high)) else f"{words}, then {second}"
