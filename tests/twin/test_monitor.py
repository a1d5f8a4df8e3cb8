# SPDX-License-Identifier: Apache-2.0
"""The twin counts along: in bulk as one by one, with levels that hold from the next event on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import sample
from tinyfin import paths
from tinyfin.data.events import SCORE, Stream
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError, PackError
from tinyfin.oracle.engine import VERIFY
from tinyfin.oracle.monitor import OracleMonitor
from tinyfin.pack.container import parse_pack
from tinyfin.twin import Twin


@pytest.fixture(scope="module")
def pack() -> bytes:
    return sample.monitored(sample.advising(sample.make_pack()))


@pytest.fixture(scope="module")
def town() -> tuple[Transactions, Stream]:
    tx = sample.make_transactions()
    return tx, sample.make_stream(tx)


@pytest.mark.parametrize("threads", [1, 2])
def test_in_bulk_as_the_oracle_one_by_one(
    pack: bytes, town: tuple[Transactions, Stream], threads: int
) -> None:
    """The oracle counts what the bulk run gave, with the thresholds of its own level."""
    tx, stream = town
    twin = Twin(pack, terminals=len(tx.terminals), monitor=True)
    found = twin.run(tx, stream, threads=threads)
    parsed = parse_pack(pack)
    oracles = [
        OracleMonitor(parsed.sections["DRFT"], parsed.sections["LEVL"], parsed.pack_id)
        for _ in tx.terminals
    ]
    assert parsed.decision is not None
    fixed, verified = parsed.decision.verify_q32, set()
    clock = [0] * len(oracles)
    steps = 0
    for kind, row, t in zip(stream.kind, stream.index, stream.t_mono_s, strict=True):
        at = int(tx.terminal[row])
        clock[at] = max(clock[at], int(t))
        if kind != SCORE:
            continue
        online, decline = oracles[at].thresholds
        score = int(found.score_q32[row])
        action = 2 if score >= decline else int(score >= online)
        assert int(found.action[row]) == action
        verify = action == 1 and score >= fixed
        assert bool(found.flags[row] & VERIFY) == verify
        verified.add((oracles[at].level, verify))
        steps += oracles[at].count(
            score,
            found.features[row].tolist(),
            int(found.action[row]),
            int(found.flags[row]),
            clock[at],
        )
    assert steps > 3
    assert {(0, True), (1, True)} <= verified, "the threshold of VERIFY stays where it is"
    for at, oracle in enumerate(oracles):
        assert twin.monitor(at) == oracle.image()


def test_a_monitor_changes_nothing_else(pack: bytes, town: tuple[Transactions, Stream]) -> None:
    """Features, scores and states are those of a twin without; only actions follow the level."""
    tx, stream = town
    counting = Twin(pack, terminals=len(tx.terminals), monitor=True)
    plain = Twin(pack, terminals=len(tx.terminals))
    a, b = counting.run(tx, stream), plain.run(tx, stream)
    assert (a.features == b.features).all()
    assert (a.score_q32 == b.score_q32).all()
    assert (a.action != b.action).any()
    assert counting.state_digest(0) == plain.state_digest(0)


def test_an_image_goes_on_in_another_twin(pack: bytes, town: tuple[Transactions, Stream]) -> None:
    tx, stream = town
    whole = Twin(pack, terminals=len(tx.terminals), monitor=True)
    first = Twin(pack, terminals=len(tx.terminals), monitor=True)
    half = len(stream) // 2
    early = Stream(stream.kind[:half], stream.index[:half], stream.t_mono_s[:half])
    late = Stream(stream.kind[half:], stream.index[half:], stream.t_mono_s[half:])
    whole.run(tx, stream)
    first.run(tx, early)
    second = Twin(pack, terminals=len(tx.terminals), monitor=True)
    for at in range(len(tx.terminals)):
        second.import_state(at, first.export_state(at))
        second.import_monitor(at, first.monitor(at))
    second.run(tx, late)
    for at in range(len(tx.terminals)):
        assert second.monitor(at) == whole.monitor(at)


def test_what_is_refused(pack: bytes) -> None:
    stock = (paths.project_dir() / Path("models/payment/model.tfpack")).read_bytes()
    with pytest.raises(PackError, match="TFIN_E_SECTION"):
        Twin(stock, monitor=True)
    with pytest.raises(InputError, match="make the twin with monitor=True"):
        Twin(pack).monitor(0)
    with pytest.raises(InputError, match="make the twin with monitor=True"):
        Twin(pack).import_monitor(0, b"")
    twin = Twin(pack, monitor=True)
    with pytest.raises(InputError, match="TFIN_E_STATE_MAGIC"):
        twin.import_monitor(0, b"no image")
