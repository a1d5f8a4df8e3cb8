# SPDX-License-Identifier: Apache-2.0
"""Ordinary business of one terminal: sales, declines and retries, refunds, voids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tinyfin.simulator.rows import CVM, ENTRY, TYPE, Ints, Rows, make, stack, take
from tinyfin.simulator.world import DAY, Terminal, World, mix64

__all__ = ["DECLINES", "NO_PIN_LIMIT_MINOR", "amounts", "cvms", "declines", "ordinary"]

DECLINES = {
    51: 0.42,
    5: 0.30,
    55: 0.09,
    54: 0.05,
    61: 0.04,
    57: 0.03,
    91: 0.03,
    14: 0.015,
    96: 0.01,
    43: 0.008,
    41: 0.007,
}
"""Response codes (DE39) of genuine declines and their shares, by and large."""

NO_PIN_LIMIT_MINOR = 5000
"""Below it a tap needs no PIN."""
_MIN_GAP_S = 7


def ordinary(world: World, terminal: Terminal) -> Rows:
    """Genuine rows of one terminal over the whole time, sorted by time."""
    rng = world.rng("traffic", terminal.index)
    profile = terminal.profile
    times = arrivals(world, terminal, rng)
    n = len(times)
    cards = _cards(world, terminal, n, rng)
    entry = rng.choice(len(ENTRY), n, p=np.array(profile.entry) / sum(profile.entry))
    wanted = amounts(terminal, n, rng) * _spender(world.seed, cards)
    wanted = wanted * world.seasonal("amounts", times)
    amount = _priced(wanted, profile.step_minor)
    kind = np.full(n, TYPE["purchase"], np.int64)
    kind = np.where(rng.random(n) < profile.preauth, TYPE["preauth"], kind)
    kind = np.where(rng.random(n) < profile.cashback, TYPE["cashback"], kind)
    amount = np.where(kind == TYPE["cashback"], amount + 1000 * rng.integers(1, 6, n), amount)
    keyed = entry == ENTRY["keyed"]
    # approved by telephone, each with a code of its own
    phoned = keyed & (rng.random(n) < 0.08)
    kind = np.where(phoned, TYPE["forced_post"], kind)
    risk = (
        np.where(phoned, 0.0, profile.decline)
        * np.where(keyed, 2.5, 1.0)
        * np.where(amount > 20_000, 1.6, 1.0)
    )
    sales = make(
        n,
        time_s=times,
        terminal=terminal.index,
        card=cards,
        bin=world.card_bin[cards],
        amount_minor=amount,
        type=kind,
        entry=entry,
        cvm=cvms(entry, amount, rng),
        chip_failures=np.where(entry == ENTRY["fallback"], rng.integers(1, 4, n), 0),
        response=np.where(rng.random(n) < risk, declines(n, rng), 0),
        result=_accidents(n, rng),
        approval=np.where(phoned, rng.integers(1, 2**31 - 1, n), -1),
    )
    parts = [sales, _retries(sales, rng), _refunds(world, terminal, sales, rng), _voids(sales, rng)]
    rows = stack(parts)
    rows = take(rows, rows["time_s"] < world.end_s)
    return take(rows, np.argsort(rows["time_s"], kind="stable"))


def arrivals(world: World, terminal: Terminal, rng: np.random.Generator) -> Ints:
    """Times of a Poisson process whose rate follows the hour, the weekday, payday and the day."""
    profile = terminal.profile
    day = np.arange(world.days)
    weekday = (world.start_s // DAY + 5 + day) % 7  # 2000-01-01 was a Saturday
    week = np.array(profile.week) / np.mean(profile.week)
    month_day = (world.start_s // DAY + day) % 30
    payday = 1.0 + 0.18 * np.exp(-0.5 * ((month_day - 27) / 1.5) ** 2)
    level = profile.per_day * terminal.scale * week[weekday] * payday
    level = level * rng.lognormal(-0.01, 0.14, world.days)
    level = level * world.seasonal("sales", world.start_s + DAY * day)
    counts = rng.poisson(level[:, None] * terminal.hours[None, :]).ravel()
    hour = np.repeat(np.arange(world.days * 24), counts)
    times = np.sort(world.start_s + hour * 3600 + rng.integers(0, 3600, len(hour)))
    # one terminal serves one customer at a time
    steps = _MIN_GAP_S * np.arange(len(times))
    return np.maximum.accumulate(times - steps) + steps if len(times) else times


def amounts(terminal: Terminal, n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Log-normal amounts in minor units, some of them round."""
    profile = terminal.profile
    amount = np.exp(rng.normal(np.log(profile.median_minor), profile.sigma, n))
    rounded = np.maximum(np.rint(amount / 500), 1) * 500
    return np.where(rng.random(n) < profile.round_share, rounded, amount)


def cvms(
    entry: npt.NDArray[np.int64], amount: npt.NDArray[np.int64], rng: np.random.Generator
) -> Ints:
    """Cardholder verification that fits the entry mode and the amount."""
    n = len(entry)
    draw = rng.random(n)
    tap = np.where(
        draw < 0.35,
        CVM["cdcvm"],
        np.where(amount < NO_PIN_LIMIT_MINOR, CVM["none"], CVM["online_pin"]),
    )
    chip = np.where(
        draw < 0.72,
        CVM["online_pin"],
        np.where(
            draw < 0.93,
            CVM["offline_pin"],
            np.where(
                draw < 0.985, CVM["signature"], np.where(draw < 0.993, CVM["none"], CVM["failed"])
            ),
        ),
    )
    swipe = np.where(draw < 0.8, CVM["signature"], CVM["online_pin"])
    by_mode = {
        "contactless_chip": tap,
        "contactless_stripe": tap,
        "chip": chip,
        "stripe": swipe,
        "fallback": swipe,
    }
    out = np.full(n, CVM["none"])
    for name, values in by_mode.items():
        out = np.where(entry == ENTRY[name], values, out)
    return out.astype(np.int64)


def declines(n: int, rng: np.random.Generator) -> Ints:
    """Response codes of n genuine declines."""
    shares = np.array(list(DECLINES.values()))
    return rng.choice(np.array(list(DECLINES)), n, p=shares / shares.sum()).astype(np.int64)


def _cards(world: World, terminal: Terminal, n: int, rng: np.random.Generator) -> Ints:
    """Regulars by Zipf's law, the others anyone in town."""
    rank = np.arange(1, len(terminal.regulars) + 1)
    weights = rank**-0.8
    regular = rng.choice(terminal.regulars, n, p=weights / weights.sum())
    anyone = rng.integers(0, world.cards, n)
    return np.where(rng.random(n) < terminal.profile.regular_share, regular, anyone)


def _spender(seed: int, cards: Ints) -> npt.NDArray[np.float64]:
    """Each card's own level of spending, 0.6 to 1.7."""
    unit = (mix64(seed + 77, cards) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return np.asarray(np.exp((unit - 0.5) * 1.04))


def _priced(amount: npt.NDArray[np.float64], step: int) -> Ints:
    return np.asarray(np.maximum(np.rint(amount / step) * step, max(step, 50)), np.int64)


def _accidents(n: int, rng: np.random.Generator) -> Ints:
    """Cancelled 0.4 %, timed out 0.1 %, reversed 0.2 %, no outcome at all 0.02 %."""
    draw = rng.random(n)
    edges = np.array([0.004, 0.005, 0.007, 0.0072])
    return np.asarray(np.array([2, 3, 4, 255, -1])[np.searchsorted(edges, draw, side="right")])


def _retries(sales: Rows, rng: np.random.Generator) -> Rows:
    """Many who are declined try again within the minute, some with less."""
    declined = np.flatnonzero((sales["response"] != 0) & (sales["result"] == -1))
    again = declined[rng.random(len(declined)) < 0.4]
    n = len(again)
    less = rng.random(n) < 0.15
    amount = sales["amount_minor"][again]
    entry = np.where(rng.random(n) < 0.6, ENTRY["chip"], sales["entry"][again])
    return take(
        sales,
        again,
        time_s=sales["time_s"][again] + rng.integers(15, 50, n),
        amount_minor=np.where(less, np.maximum(amount // 2, 50), amount),
        entry=entry,
        cvm=np.where(entry == ENTRY["chip"], CVM["online_pin"], sales["cvm"][again]),
        chip_failures=0,
        response=np.where(rng.random(n) < 0.55, 0, sales["response"][again]),
    )


def _refunds(world: World, terminal: Terminal, sales: Rows, rng: np.random.Generator) -> Rows:
    """Most refunds go to the card of an earlier sale; some (gifts) to a card never seen."""
    approved = np.flatnonzero((sales["response"] == 0) & (sales["type"] == TYPE["purchase"]))
    picked = approved[rng.random(len(approved)) < terminal.profile.refund]
    n = len(picked)
    same_day = rng.random(n) < 0.4
    delay = np.where(
        same_day,
        rng.integers(120, 5400, n),
        rng.integers(1, 15, n) * DAY + rng.integers(-5400, 5400, n),
    )
    gift = rng.random(n) < 0.15
    card = np.where(gift, rng.integers(0, world.cards, n), sales["card"][picked])
    part = np.where(rng.random(n) < 0.4, rng.uniform(0.2, 0.9, n), 1.0)
    entry = np.where(rng.random(n) < 0.5, ENTRY["chip"], ENTRY["contactless_chip"])
    return take(
        sales,
        picked,
        time_s=sales["time_s"][picked] + delay,
        card=card,
        bin=world.card_bin[card],
        amount_minor=np.maximum(np.rint(sales["amount_minor"][picked] * part), 50),
        type=TYPE["refund"],
        entry=entry,
        cvm=CVM["none"],
        chip_failures=0,
        response=0,
        result=-1,
    )


def _voids(sales: Rows, rng: np.random.Generator) -> Rows:
    approved = np.flatnonzero((sales["response"] == 0) & (sales["result"] == -1))
    picked = approved[rng.random(len(approved)) < 0.003]
    n = len(picked)
    later = sales["time_s"][picked] + rng.integers(25, 400, n)
    return take(
        sales,
        picked,
        time_s=later,
        type=TYPE["void"],
        cvm=CVM["none"],
        chip_failures=0,
        response=0,
        result=-1,
    )
