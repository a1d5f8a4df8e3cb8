# SPDX-License-Identifier: Apache-2.0
"""Two packs on the same transactions: which is better, how surely, what they decide otherwise."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tinyfin import files
from tinyfin.config import parse_moment
from tinyfin.data.events import event_stream
from tinyfin.data.seen import Seen
from tinyfin.data.transactions import Transactions, format_time
from tinyfin.errors import InputError
from tinyfin.evaluation.folds import warm_s
from tinyfin.pack.container import parse_pack
from tinyfin.results.comparison import Change, Pair
from tinyfin.results.facts import Facts
from tinyfin.results.run import MissingFields, NoticeStatus
from tinyfin.training.alert_metrics import alert_figures
from tinyfin.training.bootstrap import draw_groups, interval, replicated_ap
from tinyfin.training.metrics import at_false_positive_rate, average_precision, roc_auc
from tinyfin.training.missing_fields import require_fields
from tinyfin.training.notices import Feed
from tinyfin.training.populations import cards_of
from tinyfin.training.run_folder import RunFolder
from tinyfin.training.savings import amounts_of
from tinyfin.twin import ADVICE, Replay, Twin

__all__ = ["Compared", "Judged", "changes_of", "compare_runs", "figures", "write_changes"]

Note = Callable[[str], None]


class Comparison(Facts):
    """Two packs on the same transactions."""

    a: str
    b: str
    since: str
    rows: int
    frauds: int
    state: Literal["warm", "COLD"]
    notices: dict[str, dict[NoticeStatus, int]]
    fields: dict[str, MissingFields]
    figures: dict[str, Pair]
    changed: int
    changes: list[Change]


@dataclass(frozen=True)
class Judged:
    """Labelled rows that two packs are judged by."""

    label: npt.NDArray[np.int8]
    amount: npt.NDArray[np.float64]
    """In minor units."""
    t_s: npt.NDArray[np.integer]
    terminal: npt.NDArray[np.integer]
    group: npt.NDArray[np.generic]
    """What intervals resample: cards, as a rule."""
    alert_minor: float
    seed: int = 1


@dataclass(frozen=True)
class Compared:
    """Figures, and the decisions of both, row by row."""

    facts: Comparison
    tx: Transactions
    rows: npt.NDArray[np.int64]
    actions: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def compare_runs(
    a: RunFolder,
    b: RunFolder,
    paths: Sequence[str | Path],
    *,
    warmup: Sequence[str | Path] = (),
    keys: Sequence[Sequence[bytes]] = ((), ()),
    seed: int = 1,
    note: Note = lambda _: None,
) -> Compared:
    """Score the files with both packs, state warm from ``warmup`` on, and compare.

    Rows count from when both models had learned. Raises what reading and scoring raise, InputError
    when the runs do not read the same transactions, or none of them is later.
    """
    seen = [
        _replay(run, [*warmup, *paths], own, note) for run, own in zip((a, b), keys, strict=True)
    ]
    tx, other = seen[0][0], seen[1][0]
    if len(tx) != len(other) or not (
        np.array_equal(tx.t_mono_s, other.t_mono_s) and np.array_equal(tx.label, other.label)
    ):
        raise InputError(
            f"{a.path} and {b.path} read the files differently (rows, times or labels): compare "
            "runs whose [data] means the same"
        )
    since = max(parse_moment(run.facts().split.until) for run in (a, b))
    first = _first_row([*warmup], tx, a)
    rows = np.flatnonzero((tx.t_mono_s.astype(np.int64) >= since) & (tx.row >= first))
    if not len(rows):
        raise InputError(
            f"no transaction is later than {format_time(since)}, when training ended; give later "
            "data"
        )
    replays = (seen[0][1], seen[1][1])
    first_config = a.config()
    alert_minor = first_config.evaluate.alert_minor(first_config.decision)
    known = rows[tx.label[rows] >= 0]
    history = since - int(tx.t_mono_s.min())
    actions = tuple(replay.advice[rows] for replay in replays)
    facts = Comparison(
        a=str(a.path),
        b=str(b.path),
        since=format_time(since),
        rows=len(rows),
        frauds=int(np.count_nonzero(tx.label[rows] == 1)),
        state="COLD" if history < warm_s(a.config()) else "warm",
        notices={name: _fed(run, tx, rows, note) for name, run in (("a", a), ("b", b))},
        fields={
            name: require_fields(own[2], Seen.of(own[0], run.config()), run, str(run.path), note)
            for name, run, own in zip(("a", "b"), (a, b), seen, strict=True)
        },
        figures=figures(
            Judged(
                tx.label[known],
                amounts_of(tx, known),
                tx.t_mono_s[known],
                tx.terminal[known],
                cards_of(tx, known),
                alert_minor,
                seed,
            ),
            [replay.raw[known] for replay in replays],
            [replay.advice[known] for replay in replays],
        ),
        changed=int(np.count_nonzero(actions[0] != actions[1])),
        changes=changes_of(tx.label[rows], actions),
    )
    return Compared(facts, tx, rows, (actions[0], actions[1]))


def _replay(
    run: RunFolder, paths: Sequence[str | Path], keys: Sequence[bytes], note: Note
) -> tuple[Transactions, Replay, bytes]:
    from tinyfin.data.readers import read

    config = run.config()
    tx = read(list(paths), config, progress=note)
    data = run.pack_bytes()
    twin = Twin(data, terminals=max(1, len(tx.terminals)), keys=keys)
    note(f"scoring {len(tx)} transactions with {run.path}")
    program = parse_pack(data, keys=keys).program
    return tx, twin.run(tx, event_stream(tx, config.data.notices)), program


def _fed(
    run: RunFolder, tx: Transactions, rows: npt.NDArray[np.int64], note: Note
) -> dict[NoticeStatus, int]:
    """How many of the rows had the notices that the run was calibrated with; says so if not all."""
    feed, given = Feed.of(run), run.config().data.notices
    counts = feed.counts(tx, given, rows)
    if (told := feed.warning(given, counts, f"of {run.path} were compared")) is not None:
        note(told)
    return counts


def _first_row(warmup: Sequence[str | Path], tx: Transactions, run: RunFolder) -> int:
    """The first input row that is not warm-up."""
    from tinyfin.data.readers import read

    return len(read(list(warmup), run.config())) if warmup else int(tx.row.min())


def figures(
    both: Judged, raws: Sequence[npt.NDArray[np.int32]], actions: Sequence[npt.NDArray[np.uint8]]
) -> dict[str, Pair]:
    """Figures of two packs by name, from their raw scores and actions of the rows of ``both``."""
    fraud = both.label == 1
    seconds = max(int(both.t_s.max()) - int(both.t_s.min()), 86_400)
    each = []
    for raw, action in zip(raws, actions, strict=True):
        alerts = alert_figures(
            action > 0,
            fraud,
            both.amount,
            seconds=seconds,
            alert_minor=both.alert_minor,
            terminals=len(np.unique(both.terminal)),
        )
        each.append(
            {
                "average_precision": average_precision(raw, both.label),
                "roc_auc": roc_auc(raw, both.label),
                "recall_at_0.1%": at_false_positive_rate(raw, both.label, 0.001)[0],
                "recall": alerts.recall,
                "precision": alerts.precision,
                "false_alerts_per_1000": alerts.false_alerts_per_1000,
                "value_detected": alerts.value_detected,
                "savings": alerts.savings,
            }
        )
    out = {
        name: Pair(a=each[0][name], b=each[1][name], difference=each[1][name] - each[0][name])
        for name in each[0]
    }
    groups, group = np.unique(both.group, return_inverse=True)
    drawn = draw_groups(len(groups), both.seed)
    a, b = (replicated_ap(raw, fraud, group, drawn) for raw in raws)
    out["average_precision"].interval = interval(b - a)
    return out


def changes_of(
    label: npt.NDArray[np.int8], actions: Sequence[npt.NDArray[np.uint8]]
) -> list[Change]:
    """Of rows and the actions of two packs: how many change from which to which."""
    out = []
    for i, a in enumerate(ADVICE):
        for j, b in enumerate(ADVICE):
            mask = (actions[0] == i) & (actions[1] == j)
            if i != j and np.any(mask):
                out.append(
                    Change(
                        a=a,
                        b=b,
                        genuine=int(np.count_nonzero(mask & (label == 0))),
                        fraud=int(np.count_nonzero(mask & (label == 1))),
                        unknown=int(np.count_nonzero(mask & (label < 0))),
                    )
                )
    return out


def write_changes(path: Path, found: Compared) -> int:
    """One CSV row per transaction whose action changes; returns how many."""
    at = np.flatnonzero(found.actions[0] != found.actions[1])
    with (
        files.whole(path, make_folder=True) as unfinished,
        unfinished.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["input_row", "terminal", "id", "time", "label", "a", "b"])
        for i in at.tolist():
            row = int(found.rows[i])
            label = int(found.tx.label[row])
            writer.writerow(
                [
                    int(found.tx.row[row]),
                    found.tx.terminals[found.tx.terminal[row]],
                    int(found.tx.id[row]),
                    format_time(int(found.tx.t_mono_s[row])),
                    "" if label < 0 else label,
                    *(ADVICE[action[i]] for action in found.actions),
                ]
            )
    return len(at)
