# SPDX-License-Identifier: Apache-2.0
"""What only shows once all rows are in order: counters, outages, queues, outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tinyfin.data.transactions import NO_RESULT, RESULTS
from tinyfin.simulator.attacks import ONE_STREAM, attacks
from tinyfin.simulator.rows import CVM, ENTRY, TYPE, Columns, Ints, Rows
from tinyfin.simulator.world import DAY, Terminal, World, mix64

__all__ = ["NONE", "finish"]

CANCELLED = RESULTS.index("cancelled")
TIMED_OUT = RESULTS.index("timed_out")
NONE = np.iinfo(np.int64).min
"""Marks an absent value; it becomes null."""

_TVR_ODA_NOT_PERFORMED = 0x80 << 32  # B1b8
_TVR_CVM_FAILED = 0x80 << 16  # B3b8
_TVR_ONLINE_PIN = 0x04 << 16  # B3b3
_TVR_OVER_FLOOR = 0x80 << 8  # B4b8
_TVR_LOWER_LIMIT = 0x40 << 8  # B4b7
_TVR_RANDOM_ONLINE = 0x10 << 8  # B4b5


def finish(world: World, rows: Rows) -> Columns:
    """Native columns of ``rows``, which are sorted by time; int64 with NONE for absent.

    Enums, results and scenarios are still codes.
    """
    chances = _chances(world, rows)
    n = len(rows["time_s"])
    profiles = [terminal.profile for terminal in world.terminals]
    terminal = rows["terminal"]
    floor = np.array([profile.floor_limit_minor for profile in profiles])[terminal]
    out: Columns = {
        "time": rows["time_s"],
        "terminal": terminal,
        "id": np.arange(1, n + 1),
        "amount_minor": rows["amount_minor"],
        "token": mix64(world.seed, rows["card"]),
        "entry_mode": rows["entry"],
        "transaction_type": rows["type"],
        "mcc": np.array([profile.mcc for profile in profiles])[terminal],
        "currency": np.full(n, 978),
        "cvm": rows["cvm"],
        "floor_limit_minor": floor,
        "tamper_flags": np.zeros(n, np.int64),
        "chip_failures": rows["chip_failures"],
        "bin_hash": (mix64(world.seed + 1, rows["bin"]) & np.uint64(0xFFFF)).astype(np.int64),
        "expiry_hash": _expiry(world, rows),
        "approval_hash": np.where(rows["approval"] >= 0, rows["approval"], NONE),
        "label": rows["label"],
        "scenario": rows["scenario"],
    }
    out["atc"] = _atc(world, rows, chances.steps)
    out["tvr"] = _tvr(rows, floor, chances)
    _per_terminal(world, rows, out)
    _outcomes(rows, out, chances.delay)
    return out


@dataclass(frozen=True)
class _Chances:
    """Random numbers of each row, n of them."""

    steps: Ints
    """By how much the card's counter has grown since its row before."""
    no_oda: npt.NDArray[np.bool_]
    lower_limit: npt.NDArray[np.bool_]
    random_online: npt.NDArray[np.bool_]
    delay: npt.NDArray[np.float64]
    """Seconds until the outcome, before what the kind of transaction adds."""


def _chances(world: World, rows: Rows) -> _Chances:
    """One stream for ordinary business and ONE_STREAM, one for each other scenario."""
    n = len(rows["time_s"])
    steps, delay = np.zeros(n, np.int64), np.zeros(n)
    no_oda, lower_limit, random_online = np.zeros((3, n), np.bool_)
    streams = ["", *("" if name in ONE_STREAM else name for name in attacks())]
    for stream in sorted(set(streams)):
        codes = [code for code, name in enumerate(streams) if name == stream]
        where = np.flatnonzero(np.isin(rows["scenario"], codes))
        m = len(where)
        rng = world.rng("finish", *filter(None, [stream]))
        by_card = where[np.lexsort((rows["time_s"][where], rows["card"][where]))]
        steps[by_card] = rng.geometric(0.25, m)
        no_oda[where] = rng.random(m) < 0.006
        lower_limit[where] = rng.random(m) < 0.004
        random_online[where] = rng.random(m) < 0.012
        delay[where] = np.exp(rng.normal(0.8, 0.45, m))
    return _Chances(steps, no_oda, lower_limit, random_online, delay)


def _expiry(world: World, rows: Rows) -> Ints:
    """Given for keyed numbers: elsewhere the card itself gives its date."""
    own = (mix64(world.seed + 3, rows["card"]) & np.uint64(0xFFFF)).astype(np.int64)
    given = np.where(rows["expiry"] >= 0, rows["expiry"], own)
    return np.where(rows["entry"] == ENTRY["keyed"], given, NONE)


def _atc(world: World, rows: Rows, steps: Ints) -> Ints:
    """The card's own counter: it also grows where we do not look. Only a chip has one."""
    n = len(rows["card"])
    order = np.lexsort((rows["time_s"], rows["card"]))
    card = rows["card"][order]
    total = np.cumsum(steps[order])
    first = np.flatnonzero(np.r_[True, card[1:] != card[:-1]]) if n else np.zeros(0, np.int64)
    base = np.repeat(total[first] - 1, np.diff(np.r_[first, n]))
    start = (mix64(world.seed + 2, card) % np.uint64(3000)).astype(np.int64) + 3
    atc = np.empty(n, np.int64)
    atc[order] = np.minimum(start + total - base, 65535)
    chip = np.isin(rows["entry"], (ENTRY["chip"], ENTRY["contactless_chip"]))
    return np.where(chip, atc, NONE)


def _tvr(rows: Rows, floor: Ints, chances: _Chances) -> Ints:
    n = len(floor)
    tvr = np.zeros(n, np.int64)
    for bit, where in (
        (_TVR_ODA_NOT_PERFORMED, chances.no_oda),
        (_TVR_CVM_FAILED, rows["cvm"] == CVM["failed"]),
        (_TVR_ONLINE_PIN, rows["cvm"] == CVM["online_pin"]),
        (_TVR_OVER_FLOOR, rows["amount_minor"] >= floor),
        (_TVR_LOWER_LIMIT, chances.lower_limit),
        (_TVR_RANDOM_ONLINE, chances.random_online),
    ):
        tvr |= np.where(where, bit, 0)
    chip = np.isin(rows["entry"], (ENTRY["chip"], ENTRY["contactless_chip"]))
    return np.where(chip, tvr, NONE)


def _per_terminal(world: World, rows: Rows, out: Columns) -> None:
    """STAN, operator, boots, links, offline state and queue, one terminal after the other."""
    n = len(rows["time_s"])
    names = ("stan", "operator_hash", "boots", "link_downs", "offline", "queued_minor", "refused")
    for name in names:
        out[name] = np.zeros(n, np.int64)
    order = np.argsort(rows["terminal"], kind="stable")
    edges = np.searchsorted(rows["terminal"][order], np.arange(len(world.terminals) + 1))
    for terminal in world.terminals:
        where = order[edges[terminal.index] : edges[terminal.index + 1]]
        rng = world.rng("counters", terminal.index)
        time = rows["time_s"][where]
        _counters(world, terminal, rng, rows, out, where, time)
        _offline(terminal, rows, out, where, time)


def _counters(
    world: World,
    terminal: Terminal,
    rng: np.random.Generator,
    rows: Rows,
    out: Columns,
    where: Ints,
    time: Ints,
) -> None:
    stan = (int(rng.integers(1, 900_000)) + np.arange(len(where))) % 1_000_000
    forced = rows["stan"][where]
    out["stan"][where] = np.where(forced >= 0, forced, stan)
    daily = world.start_s + np.arange(world.days) * DAY + max(terminal.opens_s - 600, 0)
    starts = np.sort(np.r_[daily, np.array(terminal.reboots, np.int64)])
    out["boots"][where] = int(rng.integers(20, 900)) + np.searchsorted(starts, time, side="right")
    downs = np.sort(np.array([start for start, _ in terminal.outages], np.int64))
    out["link_downs"][where] = int(rng.integers(0, 300)) + np.searchsorted(downs, time, "right")
    shift = time // (DAY // 2)
    duty = mix64(world.seed + 3 + terminal.index, shift) % np.uint64(terminal.profile.operators)
    person = terminal.index * 64 + duty.astype(np.int64)
    given = rows["operator"][where]
    badge = (mix64(world.seed + 4, person) & np.uint64(0x7FFFFFFF)).astype(np.int64)
    out["operator_hash"][where] = np.where(given >= 0, given, badge)


def _offline(terminal: Terminal, rows: Rows, out: Columns, where: Ints, time: Ints) -> None:
    """Without a host a terminal approves up to its limit and queues; above, it must refuse."""
    outages = _merged(terminal.outages)
    if not outages or not len(time):
        return
    starts = np.array([start for start, _ in outages])
    ends = np.array([end for _, end in outages])
    last = np.searchsorted(starts, time, side="right") - 1
    offline = (last >= 0) & (time < ends[last])
    amount = rows["amount_minor"][where]
    kept = offline & (amount <= terminal.profile.floor_limit_minor)
    queued = np.cumsum(np.where(kept, amount, 0))
    before = queued - np.where(kept, amount, 0)
    at_start = np.r_[0, queued][np.searchsorted(time, starts[np.maximum(last, 0)], side="left")]
    out["offline"][where] = offline
    out["queued_minor"][where] = np.where(offline, before - at_start, 0)
    out["refused"][where] = offline & ~kept


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping spans joined."""
    out: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def _outcomes(rows: Rows, out: Columns, usual_s: npt.NDArray[np.float64]) -> None:
    offline: npt.NDArray[np.bool_] = out["offline"].astype(np.bool_)
    refused: npt.NDArray[np.bool_] = out.pop("refused").astype(np.bool_)
    result = np.where(rows["result"] >= 0, rows["result"], np.where(rows["response"] != 0, 1, 0))
    result = np.where(offline, np.where(refused, CANCELLED, 0), result)
    silent = offline | np.isin(result, (CANCELLED, TIMED_OUT, NO_RESULT))
    forced = rows["type"] == TYPE["forced_post"]
    delay = np.minimum(np.rint(usual_s), 20).astype(np.int64)
    delay = np.where(rows["cvm"] == CVM["online_pin"], delay + 3, delay)
    delay = np.where(result == TIMED_OUT, 45, np.where(offline, 1, np.maximum(delay, 1)))
    out["result"] = np.where(result == NO_RESULT, NONE, result)
    out["response"] = np.where(silent | forced, NONE, np.where(result == 4, 0, rows["response"]))
    out["outcome_time"] = np.where(result == NO_RESULT, NONE, rows["time_s"] + delay)
