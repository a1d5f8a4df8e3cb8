# SPDX-License-Identifier: Apache-2.0
"""Host context online: the fields that `host-fields` writes, whatever comes between."""

from __future__ import annotations

import random
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.transactions import transactions
from tinyfin import HostContext
from tinyfin.config.sections import Compromise, Risk
from tinyfin.data.events import NOTICE, OUTCOME, SCORE, event_stream
from tinyfin.data.transactions import NO_RESULT, RESULTS, Transactions
from tinyfin.errors import InputError
from tinyfin.features.compiler import compile_program
from tinyfin.schema import HOST_FIELDS, HOST_ODDS_FIELDS, PAYMENT
from tinyfin.serving import host_context
from tinyfin.serving.host_context import Events, Notice, Outcome, Request, shard_of
from tinyfin.training import host_fields
from tinyfin.training.card_odds import CardOdds
from tinyfin.training.host_fields import host_columns, host_specs
from tinyfin.twin import error_name

DAY = 86_400
START = 700_000_000
ODDS = CardOdds(
    until="2022-01-01T00:00:00",
    words="of a test",
    learned=Compromise(
        base=-500,
        odds={"amt_log": Risk(cuts=[2500, 5000], values=[0, 64, 640])},
        evidence=Risk(cuts=[-450, 0], values=[130, 110, 3]),
        probability=Risk(cuts=[0], values=[18, 2400]),
        share=-100,
        usual=120,
        genuine=-8,
        limit=100,
        durations=[(3, -150), (14, -170)],
        days=24,
        remembered=4,
    ),
)


def payments_of(rows: list[dict[str, int]]) -> Transactions:
    """Rows of cards; token 0 is a row without one."""
    t, token, amount, result, outcome_s, label, label_s = (
        np.array([row[key] for row in rows], np.uint64)
        if key == "token"
        else np.array([row[key] for row in rows])
        for key in ("t", "token", "amount", "result", "outcome_s", "label", "label_s")
    )
    values = np.zeros((len(rows), len(PAYMENT.fields)), np.int64)
    values[:, PAYMENT.index("amount_minor")] = amount
    values[:, PAYMENT.index("token")] = token.view(np.int64)
    return transactions(
        t,
        values=values,
        present=np.full(len(rows), 3),
        result=result,
        outcome_t_mono_s=t + outcome_s,
        label=label,
        label_known_s=t + label_s,
    )


def stream_of(tx: Transactions) -> list[tuple[int, int, Request | Outcome | Notice]]:
    """Kind, row and event of everything that happens to cards, in order."""
    stream, tokens, amounts = event_stream(tx), tx.column("token"), tx.column("amount_minor")
    found: list[tuple[int, int, Request | Outcome | Notice]] = []
    for kind, row, t in zip(
        stream.kind.tolist(), stream.index.tolist(), stream.t_mono_s.tolist(), strict=True
    ):
        token, id = int(tokens[row]), row + 1
        if token == 0:
            continue
        if kind == SCORE:
            found.append((kind, row, Request(token, id, t, int(amounts[row]))))
        elif kind == OUTCOME:
            result = RESULTS[tx.result[row]]
            found.append((kind, row, Outcome(token, id, t, result, int(tx.response[row]))))
        else:
            about = int(tx.t_mono_s[row])
            found.append((kind, row, Notice(token, id, t, about, bool(tx.label[row]))))
    return found


@st.composite
def card_payments(draw: st.DrawFn) -> Transactions:
    """Few cards; pauses of seconds to years; outcomes and labels late, lost or at once."""
    count = draw(st.integers(1, 40))
    gap = st.sampled_from([0, 1, 60, 3599, DAY, 31 * DAY, 401 * DAY])
    rows = []
    t = START
    for _ in range(count):
        t += draw(gap)
        rows.append(
            {
                "t": t,
                "token": draw(st.sampled_from([0, 1, 2, 2**64 - 1])),
                "amount": draw(st.sampled_from([0, 1, 999, 10**9, 10**12 - 1])),
                "result": draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4, NO_RESULT])),
                "outcome_s": draw(st.sampled_from([0, 2, DAY])),
                "label": draw(st.sampled_from([-1, 0, 1])),
                "label_s": draw(st.sampled_from([0, 7 * DAY, 30 * DAY])),
            }
        )
    return payments_of(rows)


def online(
    tx: Transactions,
    order: random.Random,
    folder: Path,
    restarts: frozenset[int] = frozenset(),
    odds: CardOdds | None = None,
) -> dict[str, list[int]]:
    """The fields of every row from a context: cards in any order, restarts in between."""
    missing = {spec.name: spec.missing for spec in host_specs(odds)}
    found = {name: [value] * len(tx) for name, value in missing.items()}
    queues: dict[int, list[tuple[int, int, Request | Outcome | Notice]]] = {}
    for kind, row, event in stream_of(tx):
        queues.setdefault(event.token, []).append((kind, row, event))
    context, path, step = HostContext(8, odds=odds), folder / "cards.tfhost", 0
    while queues:
        token = order.choice(sorted(queues))
        kind, row, event = queues[token].pop(0)
        if not queues[token]:
            del queues[token]
        if kind == SCORE:
            for name, value in context.fields(token, event.t_s).items():
                found[name][row] = missing[name] if value is None else value
        context.update(event)
        if step in restarts:
            context.snapshot(path)
            context = HostContext(8, odds=odds)
            context.restore(path)
        step += 1
    return found


@settings(max_examples=60)
@given(
    tx=card_payments(),
    seed=st.integers(0, 2**32),
    restarts=st.frozensets(st.integers(0, 100)),
    odds=st.sampled_from([None, ODDS]),
)
def test_online_is_offline(
    tx: Transactions,
    seed: int,
    restarts: frozenset[int],
    odds: CardOdds | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("context")
    found = online(tx, random.Random(seed), folder, restarts, odds)
    for name, values in host_columns(tx, odds=odds).items():
        assert found[name] == values.tolist(), name


def test_what_is_known_moves_the_odds_online_and_offline(tmp_path: Path) -> None:
    """Two cards, six hours apart; of one all is fraud from its fifth day on."""
    tx = payments_of(
        [
            {
                "t": START + 6 * 3600 * i,
                "token": 1 + i % 2,
                "amount": (900, 99_999)[i % 3 == 0],
                "result": 0,
                "outcome_s": 5,
                "label": int(i % 2 and i > 20),
                "label_s": 2 * DAY,
            }
            for i in range(60)
        ]
    )
    found = host_columns(tx, odds=ODDS)
    now, ever = (np.array(found[spec.name]) for spec in HOST_ODDS_FIELDS)
    assert online(tx, random.Random(2), tmp_path, odds=ODDS) == {
        name: values.tolist() for name, values in found.items()
    }
    new = HostContext(1, odds=ODDS).fields(1, START)
    assert now.min() < new["host_card_compromised_odds"] < 0 < now.max()
    assert (ever >= now).all()
    plain = host_columns(tx)
    assert all(np.array_equal(plain[name], found[name]) for name in plain)
    alike = [HostContext(1), HostContext(1, odds=ODDS)]
    for context in alike:
        context.snapshot(tmp_path / "cards")
        with pytest.raises(InputError, match="start without"):
            alike[1 - alike.index(context)].restore(tmp_path / "cards")


def test_ten_million_cards_with_their_odds_fit_into_6_gb() -> None:
    """What any learned odds may take at most, and the table by which a card is found."""
    most = ODDS.model_copy(
        update={
            "learned": ODDS.learned.model_copy(
                update={"durations": [(1, -9), (2, -9), (3, -9), (56, -9)]}
            )
        }
    )
    places = 2**24  # the power of two from 1.25 places a card on
    assert HostContext(1, odds=most).card_bytes * 10**7 + 4 * places <= 6 * 10**9


def example() -> Transactions:
    rng = np.random.default_rng(5)
    t = START + np.cumsum(rng.integers(0, 3 * DAY, 300))
    return payments_of(
        [
            {
                "t": int(s),
                "token": int(rng.integers(1, 9)),
                "amount": int(rng.integers(1, 10**6)),
                "result": int(rng.integers(0, 2)),
                "outcome_s": int(rng.integers(0, 100)),
                "label": int(rng.integers(-1, 2)),
                "label_s": 9 * DAY,
            }
            for s in t
        ]
    )


def lost(context: HostContext, events: Events) -> Events:
    """A sabotage: notices do not arrive."""
    return Events(*(column[events.kind != NOTICE] for column in events))


def shifted(context: HostContext, events: Events) -> Events:
    """A sabotage: amounts are one minor unit more."""
    return events._replace(about=events.about + (events.kind == 0))


@pytest.mark.parametrize("sabotage", [lost, shifted])
def test_a_sabotage_is_seen(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sabotage: Callable[[HostContext, Events], Events],
) -> None:
    tx = example()
    wanted = {name: values.tolist() for name, values in host_columns(tx).items()}
    assert online(tx, random.Random(1), tmp_path) == wanted
    honest = HostContext.update_all

    def update_all(self: HostContext, events: Events) -> object:
        done = honest(self, sabotage(self, events))
        return done if len(done) else np.zeros(len(events.kind), np.int32)

    monkeypatch.setattr(HostContext, "update_all", update_all)
    assert online(tx, random.Random(1), tmp_path) != wanted


def filled(cards: int, capacity: int, **how: int) -> HostContext:
    context = HostContext(capacity, **how)
    for token in range(1, cards + 1):
        assert context.update(Request(token, 1, START + token, 100 * token)) == 0
        assert context.update(Outcome(token, 1, START + token)) == 0
    return context


def test_batches_are_single_calls() -> None:
    tx = example()
    events = [event for _, _, event in stream_of(tx)]
    one, many = HostContext(10), HostContext(10)
    codes = [one.update(event) for event in events]
    assert many.update_all(Events.of(events)).tolist() == codes
    tokens = np.arange(12, dtype=np.uint64)
    times = np.full(12, events[-1].t_s + 5, np.uint32)
    table = many.look_up(tokens, times)
    for token, row in zip(tokens.tolist(), table.tolist(), strict=True):
        single = one.fields(token, events[-1].t_s + 5)
        assert [-1 if x is None else x for x in single.values()] == row
    assert one.counters() == many.counters()
    assert one.counters()["notices"] > 10


def test_a_look_up_changes_nothing_and_takes_no_space(tmp_path: Path) -> None:
    context = filled(3, 10)
    context.snapshot(tmp_path / "before")
    context.look_up(np.arange(100, dtype=np.uint64), np.full(100, START + 9 * DAY, np.uint32))
    context.snapshot(tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()
    assert len(context) == 3
    assert context.fields(77, START) == {
        **dict.fromkeys((spec.name for spec in HOST_FIELDS), 0),
        "host_card_mean_minor": None,
        "host_card_mean_7d_minor": None,
    }
    assert set(context.fields(0, START).values()) == {None}


@settings(max_examples=50)
@given(
    capacity=st.integers(1, 9),
    steps=st.lists(st.tuples(st.integers(1, 14), st.booleans()), max_size=120),
)
def test_the_card_without_an_event_for_the_longest_goes(
    capacity: int, steps: list[tuple[int, bool]]
) -> None:
    """Against an OrderedDict; and the table finds every card that is left."""
    context, model, evicted = HostContext(capacity), OrderedDict[int, int](), 0
    for i, (token, forget) in enumerate(steps):
        if forget:
            assert context.forget(token) == (model.pop(token, None) is not None)
            continue
        count = model.pop(token, 0)
        model[token] = count + 1
        if len(model) > capacity:
            model.popitem(last=False)
            evicted += 1
        context.update(Request(token, i + 1, START))
        context.update(Outcome(token, i + 1, START))
    assert (len(context), context.evicted) == (len(model), evicted)
    for token in range(1, 15):
        assert context.fields(token, START)["host_card_count_1d"] == model.get(token, 0)


def test_what_happens_to_no_card_keeps_none() -> None:
    context = HostContext(5)
    assert error_name(context.update(Outcome(1, 1, START))).startswith("TFIN_E_UNKNOWN_ID")
    assert len(context) == 0
    events = Events.of([Outcome(1, 1, START)])
    for column, value in (("kind", 3), ("about", 300), ("about", -1)):
        broken = events._replace(**{column: np.full_like(getattr(events, column), value)})
        assert error_name(int(context.update_all(broken)[0])).startswith("TFIN_E_ARGUMENT")


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (Request(0, 1, START), "token 0 means no card"),
        (Request(2**64, 1, START), "token: is a whole number, 0..18446744073709551615"),
        (Request(1, -1, START), "id: is a whole number"),
        (Request(1, 1, 2**32), "t_s: is a whole number, 0..4294967295"),
        (Outcome(1, 1, START, "paid"), "approved, declined, cancelled"),
        (Outcome(1, 1, START, response=10**6), "response: is a whole number"),
    ],
)
def test_wrong_events(event: Request | Outcome, says: str) -> None:
    with pytest.raises(InputError, match=says):
        HostContext(1).update(event)


def test_shards_are_stable_and_share_the_cards(tmp_path: Path) -> None:
    tokens = np.array([1, 2, 3, 2**32, 2**63, 2**64 - 1], np.uint64)
    assert shard_of(tokens, 7).tolist() == [(mixed(x) >> 32) * 7 >> 32 for x in tokens.tolist()]
    assert shard_of(tokens, 7).tolist() == [2, 6, 0, 5, 1, 4]
    many = np.random.default_rng(1).integers(1, 2**63, 80_000).astype(np.uint64)
    counts = np.bincount(shard_of(many, 8), minlength=8)
    assert abs(counts - 10_000).max() < 500
    consecutive = np.bincount(shard_of(np.arange(80_000, dtype=np.uint64), 8), minlength=8)
    assert abs(consecutive - 10_000).max() < 500
    mine = [t for t in range(1, 200) if shard_of(np.array([t], np.uint64), 2)[0] == 1]
    context = HostContext(500, shard=1, shards=2)
    for token in mine:
        assert context.update(Request(token, 1, START)) == 0
    other = next(t for t in range(1, 200) if t not in mine)
    for call in (
        lambda: context.update(Request(other, 1, START)),
        lambda: context.fields(other, START),
    ):
        with pytest.raises(InputError, match=r"belongs to shard 0 of 2, and this is shard 1"):
            call()
    context.snapshot(tmp_path / "one")
    with pytest.raises(InputError, match="holds shard 1 of 2, and this is shard 0 of 2"):
        HostContext(500, shard=0, shards=2).restore(tmp_path / "one")


def mixed(x: int) -> int:
    """The formula of docs/formats/host_snapshot.md."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def test_a_smaller_context_is_told(tmp_path: Path) -> None:
    filled(6, 6).snapshot(tmp_path / "six")
    with pytest.raises(InputError, match="holds 6 cards, and there is space for 2"):
        HostContext(2).restore(tmp_path / "six")


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), before=st.integers(0, 200), steps=st.integers(0, 30))
def test_a_snapshot_in_steps_and_the_events_behind_it_are_the_state(
    seed: int, before: int, steps: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Events come between the steps; whoever restores repeats them from the first step on."""
    tx, folder = example(), tmp_path_factory.mktemp("steps")
    events = [event for _, _, event in stream_of(tx)]
    context, rng = HostContext(8), random.Random(seed)
    for event in events[:before]:
        context.update(event)
    first, done = context.next, before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_context, "_CARDS", 1)
        for _ in context.snapshot_in_steps(folder / "fuzzy", lambda: None):
            for _ in range(rng.randrange(steps + 1)):
                if done < len(events):
                    context.update(events[done])
                    done += 1
    restored = HostContext(8)
    assert restored.restore(folder / "fuzzy") == first == before + 1
    for number, event in enumerate(events[before:done], first):
        restored.update_all(Events.of([event]), number)
    context.snapshot(folder / "one")
    restored.snapshot(folder / "other")
    assert images(folder / "one") == images(folder / "other")
    assert restored.next == context.next


def images(path: Path) -> set[bytes]:
    """Those of the cards of a snapshot."""
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 28)[0]
    return {data[at : at + size] for at in range(64, len(data) - 4, size)}


def test_damaged_and_foreign_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte, changed, is refused; and so is what another program has written."""
    path = tmp_path / "cards"
    filled(2, 2).snapshot(path)
    good = path.read_bytes()
    context = filled(1, 2)
    before = context.fields(1, START + 5)
    for at in [*range(64), *range(64, len(good), 37), len(good) - 1]:
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        with pytest.raises(InputError):
            context.restore(path)
    for cut in (good[:-1], good + b"x", good[:63], b""):
        path.write_bytes(cut)
        with pytest.raises(InputError, match=r"start without one|no snapshot"):
            context.restore(path)
    newer = bytearray(good)
    newer[4] = 2
    path.write_bytes(newer)
    with pytest.raises(InputError, match="format 2, and this tinyfin reads up to 1"):
        context.restore(path)
    path.write_bytes(good)
    honest = host_context.card_program
    monkeypatch.setattr(
        host_context, "card_program", lambda schema, _: (honest(schema)[0], _other_program())
    )
    other = HostContext(2)
    with pytest.raises(InputError, match=f"{context.program_id.hex()}, and this .*start without"):
        other.restore(path)
    assert context.fields(1, START + 5) == before
    assert context.restore(path) == 5


def _other_program() -> bytes:
    """With a place more for transactions that wait."""
    capacities = {**host_fields.CAPACITIES, "pending": 5}
    return compile_program(host_fields._FEATURES, PAYMENT, **capacities).payload


def test_a_hostile_snapshot_is_refused(tmp_path: Path) -> None:
    """Right checksum, wrong count: nothing may index memory with it."""
    path = tmp_path / "cards"
    context = filled(1, 1)
    context.snapshot(path)
    good = path.read_bytes()
    size = struct.unpack_from("<I", good, 28)[0]
    refused = 0
    for at in range(64 + 16, 64 + size - 4, 4):
        body = bytearray(good[:-4])
        body[at : at + 4] = b"\xff\xff\xff\x7f"
        path.write_bytes(bytes(body) + struct.pack("<I", zlib.crc32(body)))
        fresh = HostContext(1)
        try:
            fresh.restore(path)
        except InputError:
            refused += 1
            continue
        fresh.fields(1, START + DAY)
        fresh.update(Request(1, 5, START + DAY))
        fresh.update(Notice(1, 5, START + DAY, START + DAY, True))
    assert refused >= 1


def test_threads_share_a_context() -> None:
    context, wrong = HostContext(100), []

    def work(first: int) -> None:
        for i in range(200):
            token = first + i % 10
            wrong.extend(filter(None, [context.update(Request(token, i + 1, START))]))
            wrong.extend(filter(None, [context.update(Outcome(token, i + 1, START))]))

    threads = [threading.Thread(target=work, args=(first,)) for first in (1, 11, 21, 31)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    counts = [context.fields(t, START)["host_card_count_1d"] for t in range(1, 41)]
    assert counts == [20] * 40
