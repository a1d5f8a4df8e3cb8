# SPDX-License-Identifier: Apache-2.0
"""Frauds and the genuine business that looks like them: each has the shape that its text claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tinyfin import simulator
from tinyfin.config import Simulate
from tinyfin.schema import CVMS, ENTRY_MODES, TRANSACTION_TYPES
from tinyfin.simulator.attacks import ONE_STREAM, attacks, incidents
from tinyfin.simulator.rows import Rows
from tinyfin.simulator.world import World

PAIRS = {
    "structuring": "ticket_books",
    "refund_layering": "returns_week",
    "transaction_laundering": "new_goods",
    "colluding_operator": "trainee",
}
NEW = (*PAIRS, *PAIRS.values())
DAY = 86_400
COUNTERS = {"id", "stan", "atc", "queued_minor"}
SMALL = Simulate(terminals=8, days=10, seed=5)

Mask = npt.NDArray[np.bool_]


def happenings(name: str, of_each: float = 60.0) -> Iterator[tuple[World, Rows]]:
    """Incidents of one scenario, in time order, before the end of the data cuts them."""
    world = World(24, 30, 17, SMALL.start, {})
    factors = dict.fromkeys(attacks(), 0.0)
    factors[name] = of_each / (attacks()[name].per_terminal_day * 24 * 30)
    found = incidents(world, factors)
    assert len(found) == round(of_each)
    for rows in found:
        order = np.argsort(rows["time_s"], kind="stable")
        yield world, {column: values[order] for column, values in rows.items()}


def is_type(rows: Rows, name: str) -> Mask:
    return np.asarray(rows["type"] == TRANSACTION_TYPES.index(name))


def is_read(rows: Rows, *names: str) -> Mask:
    return np.isin(rows["entry"], [ENTRY_MODES.index(name) for name in names])


def limit_of(world: World, rows: Rows) -> int:
    return world.terminals[rows["terminal"][0]].profile.floor_limit_minor or 5000


def total(rows: Rows, where: Mask) -> int:
    return int(rows["amount_minor"][where].sum())


def most_paid(rows: Rows, card: int, until_s: int) -> int:
    """The largest amount that a card has paid before a time."""
    mine = is_type(rows, "purchase") & (rows["card"] == card) & (rows["time_s"] < until_s)
    return int(rows["amount_minor"][mine].max(initial=0))


def structuring(world: World, rows: Rows) -> None:
    limit = limit_of(world, rows)
    assert (rows["amount_minor"] < limit).all()
    assert (rows["amount_minor"] > 0.88 * limit).all()
    assert len(np.unique(rows["card"])) <= 2
    assert len(np.unique(rows["time_s"] // DAY)) >= 4
    assert rows["amount_minor"].sum() > 3 * limit


def ticket_books(world: World, rows: Rows) -> None:
    (price,) = np.unique(rows["amount_minor"])
    assert 0.88 * limit_of(world, rows) < price < limit_of(world, rows)
    visits = np.unique(rows["card"], return_counts=True)[1]
    assert len(visits) >= 8
    assert np.median(visits) <= 2
    tap = is_read(rows, "contactless_chip")
    assert not np.isin(rows["cvm"][~tap], CVMS.index("cdcvm")).any()


def refund_layering(world: World, rows: Rows) -> None:
    sale, back = is_type(rows, "purchase"), is_type(rows, "refund")
    assert (sale | back).all()
    assert total(rows, sale) == total(rows, back) > 0
    assert 3 <= len(np.unique(rows["card"])) <= 5
    seller = rows["card"][np.maximum.accumulate(np.where(sale, np.arange(len(sale)), 0))]
    assert (rows["card"][back] != seller[back]).all()
    paid = np.maximum.accumulate(np.where(sale, rows["time_s"], 0))
    assert (rows["time_s"] - paid).max() <= 1800


def returns_week(world: World, rows: Rows) -> None:
    sale, back = is_type(rows, "purchase"), is_type(rows, "refund")
    assert 0.4 * total(rows, sale) < total(rows, back) <= total(rows, sale)
    given = zip(*(rows[name][back] for name in ("card", "time_s", "amount_minor")), strict=True)
    to_payer = [most_paid(rows, card, t) >= amount for card, t, amount in given]
    assert np.mean(to_payer) > 0.6
    assert len(np.unique(rows["card"])) >= 8
    assert rows["time_s"].max() - rows["time_s"].min() < 7 * DAY


def transaction_laundering(world: World, rows: Rows) -> None:
    assert set(rows["time_s"] % DAY // 3600) <= {19, 20, 21, 22, 23, 0, 1, 2}
    assert len(np.unique(rows["amount_minor"])) <= 3
    assert is_read(rows, "credential_on_file", "keyed").all()
    assert len(rows["card"]) >= 3 * len(np.unique(rows["card"]))
    assert len(np.unique(rows["time_s"] // DAY)) >= 3


def new_goods(world: World, rows: Rows) -> None:
    assert len(np.unique(rows["amount_minor"])) <= 3
    assert len(rows["card"]) < 2 * len(np.unique(rows["card"]))
    keyed = is_read(rows, "keyed")
    assert np.mean(keyed) < 0.4
    assert (rows["cvm"][keyed] == CVMS.index("none")).all()


def colluding_operator(world: World, rows: Rows) -> None:
    back, forced = is_type(rows, "refund"), is_type(rows, "forced_post")
    assert np.count_nonzero(back) >= 2
    assert len(np.unique(rows["card"][back])) == 1
    assert is_read(rows, "keyed")[~back].all()
    assert len(np.unique(rows["approval"][forced])) == np.count_nonzero(forced)
    assert (rows["approval"][~forced] == -1).all()
    assert len(np.unique(rows["time_s"] // (DAY // 2))) == 1
    median = world.terminals[rows["terminal"][0]].profile.median_minor
    assert rows["amount_minor"].max() <= 2 * median


def trainee(world: World, rows: Rows) -> None:
    undone = is_type(rows, "void") | is_type(rows, "refund")
    assert 3 * np.count_nonzero(undone) == len(undone)
    for i in np.flatnonzero(undone):
        same = rows["card"] == rows["card"][i]
        after = rows["time_s"] - rows["time_s"][i]
        equal = rows["amount_minor"] == rows["amount_minor"][i]
        assert (same & equal & is_type(rows, "purchase") & (after < 0) & (after > -90)).any()
        assert (same & is_type(rows, "purchase") & (after > 0) & (after < 200)).any()


SHAPES: dict[str, Callable[[World, Rows], None]] = {
    shape.__name__: shape
    for shape in (
        structuring,
        ticket_books,
        refund_layering,
        returns_week,
        transaction_laundering,
        new_goods,
        colluding_operator,
        trainee,
    )
}


@pytest.mark.parametrize("name", NEW)
def test_it_has_the_shape_that_it_claims(name: str) -> None:
    label = int(name in PAIRS)
    for world, rows in happenings(name):
        SHAPES[name](world, rows)
        assert set(rows["label"]) == {label}
        assert (rows["amount_minor"] > 0).all()
        kind = world.terminals[rows["terminal"][0]].kind
        assert kind in (attacks()[name].merchants or (kind,))


@pytest.mark.parametrize("name", NEW)
def test_no_other_scenario_has_its_shape(name: str) -> None:
    """The control: a shape that fits its partner, or what was there before, would say nothing."""
    partner = {**PAIRS, **{right: left for left, right in PAIRS.items()}}[name]
    for other in (partner, "lunch_rush", "takeover"):
        fits = 0
        for world, rows in happenings(other, 10):
            with suppress(AssertionError, ValueError):
                SHAPES[name](world, rows)
                fits += 1
        assert fits == 0, other


def test_one_operator_stands_at_the_terminal() -> None:
    for seed in range(5):
        only = {name: float(name == "colluding_operator") for name in attacks()}
        settings = Simulate(terminals=1, days=1, seed=seed, attacks=only)
        town = simulator.simulate(settings)
        mine = town.filter(pc.equal(town["scenario"], "colluding_operator"))
        assert mine.num_rows >= 5
        assert len(set(mine["operator_hash"].to_pylist())) == 1


def test_a_band_below_the_limit_is_rare_in_ordinary_business() -> None:
    town = simulator.simulate(SMALL)
    genuine = town.filter(pc.equal(town["scenario"], "genuine"))
    limit = np.array(genuine["floor_limit_minor"])
    limit = np.where(limit > 0, limit, 5000)
    amount = np.array(genuine["amount_minor"])
    assert 0.001 < np.mean((amount >= 0.9 * limit) & (amount < limit)) < 0.05


def old_rows(settings: Simulate) -> pa.Table:
    town = simulator.simulate(settings)
    return town.filter(pc.invert(pc.is_in(town["scenario"], pa.array(NEW))))


def changed(with_new: pa.Table, without: pa.Table) -> set[str]:
    assert with_new.num_rows == without.num_rows
    return {name for name in without.column_names if not with_new[name].equals(without[name])}


def test_the_older_rows_are_the_same_with_and_without_the_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    off = SMALL.model_copy(update={"attacks": dict.fromkeys(NEW, 0.0)})
    many = SMALL.model_copy(update={"attacks": dict.fromkeys(NEW, 3.0)})
    without, with_new = old_rows(off), old_rows(many)
    assert changed(with_new, without) <= COUNTERS
    for counter in ("stan", "atc"):
        steps = np.array(pc.subtract(with_new[counter], without[counter]).drop_null())
        assert (steps >= 0).all()
    # the control: draws from one stream are others behind each new row
    monkeypatch.setattr(
        import_module("tinyfin.simulator.finish"), "ONE_STREAM", frozenset(attacks())
    )
    assert {"tvr", "outcome_time"} <= changed(old_rows(many), without)


def test_each_new_scenario_leaves_the_others_as_they_are() -> None:
    asked = dict.fromkeys(NEW, 1.0)
    full = simulator.simulate(SMALL.model_copy(update={"attacks": asked}))
    for name in NEW:
        some = {**asked, name: 0.0}
        less = simulator.simulate(SMALL.model_copy(update={"attacks": some}))
        rest = full.filter(pc.not_equal(full["scenario"], name))
        assert changed(rest, less) <= COUNTERS


def test_only_those_share_a_stream_that_were_there_before() -> None:
    assert attacks().keys() - ONE_STREAM == set(NEW)
    assert attacks().keys() > ONE_STREAM
