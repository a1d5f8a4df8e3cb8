# SPDX-License-Identifier: Apache-2.0
"""What known labels say of a pack: ranking, recall, false alerts, frauds promised and observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import format_time
from tinyfin.evaluation.calibration_interval import Terms, promise
from tinyfin.results.evaluation import Promised
from tinyfin.results.facts import NAN
from tinyfin.results.metrics import Action, DecisionFacts, Metrics
from tinyfin.results.monitor import Bounded, LabelFigures
from tinyfin.training.bootstrap import draw_groups, interval, replicated_ap
from tinyfin.training.confusion import ACTION_LEVELS, share
from tinyfin.training.label_delays import slower_of
from tinyfin.training.monotone_curve import fit_curve
from tinyfin.training.scoring import ScoredPart

__all__ = ["CalibrationRows", "LabelledRows", "Mature", "promised"]

DAY_S = 86_400
_MOST_GROUPS = 20_000
"""Groups of a draw; of more cards some are drawn together, and are still independent of others."""

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class CalibrationRows:
    """The rows that the table of probabilities was fitted to."""

    raw: npt.NDArray[np.int32]
    fraud: npt.NDArray[np.bool_]
    terminal: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Mature:
    """Rows whose label was known in time, and that were old enough for the slower kind of label."""

    rows: Arrays
    """By column: those of :class:`LabelledRows`, and what was added."""
    horizon_s: int
    """Younger rows are left out."""
    immature: int
    group: npt.NDArray[np.int64]
    """What intervals resample, whose name is ``drawn``."""
    drawn: str

    @property
    def fraud(self) -> npt.NDArray[np.bool_]:
        """Of each row."""
        return np.asarray(self.rows["label"] == 1)


class LabelledRows:
    """The reported rows that have a label, gathered chunk by chunk."""

    def __init__(self) -> None:
        self._parts: list[Arrays] = []
        self.unlabelled = 0
        self._terminals = 0

    def add(self, part: ScoredPart, **more: npt.NDArray[Any]) -> None:
        """The rows of a chunk; ``more``: further columns of all of them."""
        tx, replay = part.tx, part.replay
        notes = tx.label_notes()
        notes = notes.part(part.own[notes.index])
        rows = notes.index
        self.unlabelled += int(np.count_nonzero(part.own & (tx.label < 0)))
        self._terminals = len(tx.terminals)
        cards = "token" in tx.schema.names
        self._parts.append(
            {
                "t": tx.t_mono_s[rows].astype(np.int64),
                "row": tx.row[rows],
                "known": notes.known_s.astype(np.int64),
                "label": notes.label,
                "later": notes.later,
                "terminal": tx.terminal[rows],
                "card": tx.column("token")[rows] if cards else np.zeros(len(rows), np.uint64),
                "has_card": tx.has("token")[rows] if cards else np.zeros(len(rows), bool),
                "q32": replay.score_q32[rows],
                "raw": replay.raw[rows],
                "advice": replay.advice[rows],
                **{name: column[rows] for name, column in more.items()},
            }
        )

    def figures(
        self,
        as_of_s: int,
        horizon_s: int,
        metrics: Metrics,
        *,
        budgets: Mapping[Action, float],
        calibrated: bool,
        learned: CalibrationRows | None,
    ) -> LabelFigures | None:
        """Figures of the rows whose label was known at ``as_of_s``, and that were old enough then
        for the slower kind of label; None without labels.

        ``horizon_s``: age that training took for old enough; here at least that. ``learned``: the
        calibration rows, if they were kept: few frauds there make a promise less certain.
        """
        found = self.mature(as_of_s, horizon_s)
        if found is None:
            return None
        mature, fraud, group = found.rows, found.fraud, found.group
        decision = metrics.decision
        return LabelFigures(
            as_of=format_time(as_of_s),
            horizon_days=found.horizon_s / DAY_S,
            rows=len(fraud),
            frauds=int(fraud.sum()),
            immature=found.immature,
            unlabelled=self.unlabelled,
            drawn=found.drawn,
            average_precision=_average_precision(mature["q32"], fraud, group, metrics),
            recall=_by_action(
                decision,
                lambda action, level: _share(
                    (mature["advice"] >= level) & fraud, fraud, group, _recall(decision, action)
                ),
            ),
            false_alerts_per_1000=_by_action(
                decision,
                lambda action, level: _share(
                    (mature["advice"] >= level) & ~fraud,
                    ~fraud,
                    group,
                    budgets.get(action, NAN),
                    1000,
                ),
            ),
            **(
                {"frauds_promised": promised(mature, fraud, learned)}
                if calibrated and len(fraud)
                else {}
            ),
        )

    def mature(self, as_of_s: int, horizon_s: int) -> Mature | None:
        """The rows that figures are made of, as :meth:`figures` says; None without labels."""
        if not any(len(part["t"]) for part in self._parts):
            return None
        rows = {name: np.concatenate([p[name] for p in self._parts]) for name in self._parts[0]}
        total = int(np.count_nonzero(rows["later"] == 0))
        known = (rows["known"] <= as_of_s) & (rows["t"] <= as_of_s)
        notes = _newest({name: column[known] for name, column in rows.items()})
        young = max(horizon_s, slower_of(notes["t"], notes["known"], notes["label"], as_of_s))
        old = notes["t"] <= as_of_s - young
        kept = {name: column[old] for name, column in notes.items()}
        group, drawn = self._groups(kept)
        return Mature(kept, young, total - int(old.sum()), group, drawn)

    def _groups(self, rows: Arrays) -> tuple[npt.NDArray[np.int64], str]:
        """What intervals resample, as :func:`tinyfin.training.populations.cards_of` has it."""
        if rows["has_card"].all():
            group, drawn = rows["card"], "cards"
        elif self._terminals > 1:
            group, drawn = rows["terminal"], "terminals"
        else:
            group, drawn = np.arange(len(rows["t"])), "transactions"
        code = np.unique(group, return_inverse=True)[1].astype(np.int64)
        return code % _MOST_GROUPS, drawn


def _newest(notes: Arrays) -> Arrays:
    """Of each transaction the last of the labels that were known."""
    if not notes["later"].any():
        return notes
    order = np.lexsort((notes["later"], notes["row"]))
    own = notes["row"][order]
    kept = np.sort(order[np.r_[True, own[1:] != own[:-1]]])
    return {name: column[kept] for name, column in notes.items()}


def _by_action(
    decision: DecisionFacts | None, figure: Callable[[Action, int], Bounded]
) -> dict[Action, Bounded]:
    """A figure of each action whose threshold is in force."""
    return {
        action: figure(action, level)
        for action, level in ACTION_LEVELS.items()
        if decision is not None and decision.threshold(action) is not None
    }


def _recall(decision: DecisionFacts | None, action: Action) -> float:
    """Of the test rows of the run."""
    known = {} if decision is None else decision.thresholds.get(action, {})
    return known["all"].recall if "all" in known else NAN


def _share(
    hit: npt.NDArray[np.bool_],
    of: npt.NDArray[np.bool_],
    group: npt.NDArray[np.int64],
    expected: float,
    times: int = 1,
) -> Bounded:
    groups = int(group.max(initial=0)) + 1
    value, (low, high) = share(
        np.bincount(group[hit], minlength=groups), np.bincount(group[of], minlength=groups)
    )
    return Bounded(value=times * value, interval=(times * low, times * high), expected=expected)


def _average_precision(
    score: npt.NDArray[np.uint32],
    fraud: npt.NDArray[np.bool_],
    group: npt.NDArray[np.int64],
    metrics: Metrics,
) -> Bounded:
    trained = metrics.populations.get("all", {}).get("model_int8")
    value, between = NAN, (NAN, NAN)
    if fraud.any() and not fraud.all():
        drawn = draw_groups(int(group.max()) + 1, 0)
        once = np.ones((1, drawn.shape[1]), np.float32)  # every group once: the figure itself
        value, *drawn_anew = replicated_ap(
            score.astype(np.int64), fraud, group, np.concatenate([once, drawn])
        ).tolist()
        between = interval(np.array(drawn_anew))
    expected = NAN if trained is None else trained.average_precision
    return Bounded(value=value, interval=between, expected=expected)


def promised(
    rows: Arrays, fraud: npt.NDArray[np.bool_], learned: CalibrationRows | None
) -> Promised:
    """Frauds that the probabilities of ``rows`` (columns of :class:`Mature`) promise.

    Rows of one terminal, and of one card, go the same way; a row without a card shares one with
    no other, and so do calibration rows."""
    n, m = len(fraud), 0 if learned is None else len(learned.raw)
    tested = Terms(np.arange(n), np.ones(n), fraud, rows["q32"] / 2.0**32)
    card = np.unique(rows["card"], return_inverse=True)[1]
    cards = np.r_[np.where(rows["has_card"], card, n + np.arange(n)), 2 * n + np.arange(m)]
    if learned is None:
        return promise(tested, groups=[rows["terminal"], cards])
    curve = fit_curve(learned.raw, learned.fraud)
    weight = -curve.sensitivity(learned.raw, rows["raw"])
    fitted = Terms(n + np.arange(m), weight, learned.fraud, curve(learned.raw))
    terminals = np.r_[rows["terminal"], rows["terminal"].max(initial=0) + 1 + learned.terminal]
    return promise(tested, fitted, [terminals, cards])
