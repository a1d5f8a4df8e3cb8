# SPDX-License-Identifier: Apache-2.0
"""DATA through candidate and parent, and of each row what a release looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tinyfin.errors import DataError, InputError
from tinyfin.monitoring.labels import LabelledRows
from tinyfin.pack.container import Pack
from tinyfin.pack.decision import Decision
from tinyfin.release.paired import Ints, Mask, Scores, Windows, bins_of, cuts_of, stretches
from tinyfin.training.savings import amounts_of
from tinyfin.training.scoring import ScoredPart, Scoring
from tinyfin.twin import FLAGS, Replay, Twin

__all__ = ["Rows", "begun_with", "score_both"]

_BIT = {name: bit for bit, name in FLAGS.items()}
_GROUPED_BY = "mcc"


@dataclass(frozen=True)
class Rows:
    """The reported rows in order of time, n of them."""

    terminal: Ints
    t_s: Ints
    label: npt.NDArray[np.int8]
    own: Scores
    own_advice: npt.NDArray[np.uint8]
    """By score: the flag SHADOW of a decision changes nothing here."""
    cold: Mask
    saturated: Mask
    parent: Scores
    parent_advice: npt.NDArray[np.uint8]
    group: Ints
    """Merchant category, -1 where there is none."""
    features: npt.NDArray[np.int16]
    """[n, features] of the candidate."""

    @cached_property
    def cuts(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Of the parent, and own. Raises DataError."""
        return cuts_of(self.parent, "the parent"), cuts_of(self.own, "the candidate")

    def windows(self, length: int, own: Scores | None = None) -> Windows:
        """Windows of ``length`` events from where a terminal's state is not COLD any more. ``own``:
        scores in the place of the candidate's, by its cuts."""
        parent_cuts, own_cuts = self.cuts
        warm = np.flatnonzero(~self.cold)
        rows = warm[stretches(self.terminal[warm], length)]
        return Windows(
            self.terminal[rows[:, 0]],
            bins_of(self.parent[rows], parent_cuts),
            bins_of((self.own if own is None else own)[rows], own_cuts),
            self.parent_advice[rows] > 0,
            self.own_advice[rows] > 0,
        )

    def trials(self, length: int, *, cold: bool) -> tuple[Ints, Ints, Ints]:
        """Of windows as in a trial: terminal, alerts, saturated verdicts. ``cold``: it begins with
        a cold state, as only a terminal's first rows do."""
        used = np.arange(len(self.own)) if cold else np.flatnonzero(~self.cold)
        rows = used[stretches(self.terminal[used], length, first=cold)]
        return (
            self.terminal[rows[:, 0]],
            (self.own_advice[rows] > 0).sum(axis=1, dtype=np.int64),
            self.saturated[rows].sum(axis=1, dtype=np.int64),
        )


def score_both(
    scoring: Scoring, parent: Pack | None, keys: Sequence[bytes]
) -> tuple[Rows, LabelledRows, Ints]:
    """Everything that ``scoring`` is about to score, the labelled part of it, and the places of the
    rows among those that were read; of labelled rows
    the columns ``amount``, ``parent_raw``, ``parent_q32`` and ``parent_advice``, too. Without a
    parent its columns are the candidate's.

    Raises DataError without a row, InputError when the parent reads other fields.
    """
    labelled = LabelledRows()
    gathered: list[dict[str, npt.NDArray[np.generic]]] = []
    own = _decision(scoring.pack)
    its = own if parent is None else _decision(parent)
    for part, replay in _both(scoring, parent, keys):
        tx = part.tx
        columns: dict[str, npt.NDArray[np.generic]] = {
            "terminal": tx.terminal.astype(np.int64),
            "t_s": tx.t_mono_s.astype(np.int64),
            "label": tx.label,
            "own": part.replay.score_q32,
            "own_advice": own(part.replay.score_q32),
            "cold": part.replay.flags & _BIT["COLD"] > 0,
            "saturated": part.replay.flags & _BIT["SATURATED"] > 0,
            "parent": replay.score_q32,
            "parent_advice": its(replay.score_q32),
            "group": _groups(part),
            "features": part.replay.features,
        }
        labelled.add(
            part,
            amount=amounts_of(tx, np.arange(len(tx))),
            parent_raw=replay.raw,
            parent_q32=replay.score_q32,
            parent_advice=columns["parent_advice"],
        )
        gathered.append({name: column[part.own] for name, column in columns.items()})
    if not sum(len(one["own"]) for one in gathered):
        raise DataError("there are no transactions; nothing can be said of the candidate")
    found = {name: np.concatenate([one[name] for one in gathered]) for name in gathered[0]}
    order = np.argsort(found["t_s"], kind="stable")
    return Rows(**{name: column[order] for name, column in found.items()}), labelled, order


def begun_with(scoring: Scoring, rows: Rows, order: Ints, keys: Sequence[bytes]) -> Rows:
    """``rows``, which :func:`score_both` gave, as a terminal sees them whose shadow began with the
    first of them, beside a state of its own: of the candidate what it answers then."""
    twin = Twin(scoring.pack.data, terminals=max(1, len(scoring.terminals)), keys=keys)
    replays = list(scoring.begun_with(twin))
    score = np.concatenate([one.score_q32 for one in replays])[order]
    flags = np.concatenate([one.flags for one in replays])[order]
    return replace(
        rows,
        own=score,
        own_advice=_decision(scoring.pack)(score),
        cold=flags & _BIT["COLD"] > 0,
        saturated=flags & _BIT["SATURATED"] > 0,
    )


def _both(
    scoring: Scoring, parent: Pack | None, keys: Sequence[bytes]
) -> Iterator[tuple[ScoredPart, Replay]]:
    if parent is None:
        return ((part, part.replay) for part in scoring.parts())
    packs = (scoring.pack, parent)
    mine, other = ((pack.sections["SCHM"], pack.meta.get("fields")) for pack in packs)
    if mine != other:
        own, its = (pack.meta.get("schema", "unnamed") for pack in packs)
        raise InputError(
            f"the parent reads other fields (schema {its!r}) than the candidate (schema {own!r}): "
            "no transaction suits both, so they cannot be compared; release without --parent, and "
            "install the pack with the firmware that gives its fields"
        )
    twin = Twin(parent.data, terminals=max(1, len(scoring.terminals)), keys=keys)
    return scoring.parts_with(twin)


def _decision(pack: Pack) -> Callable[[Scores], npt.NDArray[np.uint8]]:
    decision = pack.decision
    assert isinstance(decision, Decision)  # scoring has refused a pack without a network
    return decision.advice


def _groups(part: ScoredPart) -> Ints:
    tx = part.tx
    if _GROUPED_BY not in tx.schema.names:
        return np.full(len(tx), -1, np.int64)
    return np.where(tx.has(_GROUPED_BY), tx.column(_GROUPED_BY).astype(np.int64), -1)
