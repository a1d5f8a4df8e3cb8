# SPDX-License-Identifier: Apache-2.0
"""What the twin computes without a pack is what it computes with one, and it checks as much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyfin import paths, simulator
from tinyfin.config import Simulate, load
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError, PackError
from tinyfin.features.compiler import Program, compile_program
from tinyfin.features.expressions import field
from tinyfin.pack.container import build_pack, parse_pack
from tinyfin.pack.readout import Readout
from tinyfin.pack.sections import encode_schema
from tinyfin.training.dataset import compute_features
from tinyfin.training.learned_cuts import computed_numbers
from tinyfin.twin import FeatureTwin, NetworkTwin, Twin

PACKS = sorted((paths.project_dir() / "models").glob("*/model.tfpack"))


@pytest.fixture(scope="module")
def tx(tmp_path_factory: pytest.TempPathFactory) -> Transactions:
    data = tmp_path_factory.mktemp("data") / "t.parquet"
    simulator.write(simulator.simulate(Simulate(terminals=7, days=9, seed=3)), data)
    return read([data], load(None))


@pytest.fixture(scope="module")
def program(tx: Transactions) -> Program:
    return compile_program("default", tx.schema)


def test_features_are_those_of_a_pack(tx: Transactions, program: Program) -> None:
    stream = event_stream(tx)
    packed = Twin(build_pack(tx.schema, program), terminals=len(tx.terminals)).run(tx, stream)
    alone = FeatureTwin(encode_schema(tx.schema), program.payload, terminals=len(tx.terminals))
    found = alone.run(tx, stream)
    assert np.array_equal(found.features, packed.features)
    assert np.array_equal(found.flags, packed.flags)
    assert found.restarts == packed.restarts
    assert len(np.unique(found.features)) > 100
    other = FeatureTwin(encode_schema(tx.schema), program.payload, terminals=len(tx.terminals))
    changed = other.run(tx, event_stream(tx, "none"))
    assert not np.array_equal(changed.features, found.features), "notices do take part"


def test_a_long_pause_is_a_restart_without_a_pack_too(tx: Transactions, program: Program) -> None:
    late = tx.take(np.flatnonzero(tx.terminal == 0)[:20])
    stream = event_stream(late, "none")
    for times, second_half in (
        (late.t_mono_s, slice(10, None)),
        (stream.t_mono_s, stream.index >= 10),
    ):
        times[second_half] += 60 * 86400
    alone = FeatureTwin(encode_schema(tx.schema), program.payload, terminals=len(tx.terminals))
    packed = Twin(build_pack(tx.schema, program), terminals=len(tx.terminals))
    assert alone.run(late, stream).restarts == packed.run(late, stream).restarts != frozenset()


@pytest.mark.parametrize("path", PACKS, ids=lambda path: path.parent.name)
def test_raw_scores_are_those_of_the_pack(path: Path) -> None:
    pack = parse_pack(path.read_bytes())
    assert pack.plan is not None
    alone = NetworkTwin(pack.plan, pack.sections["READ"])
    packed = Twin(pack.data)
    rows = np.random.default_rng(5).integers(-128, 128, (200, packed.input_count), np.int8)
    for own, others in zip(alone.infer(rows), packed.infer(rows), strict=True):
        assert np.array_equal(own, others)
    assert len(np.unique(alone.infer(rows)[1])) > 20
    with pytest.raises(InputError, match=f"expected .n, {packed.input_count}"):
        alone.infer(rows[:, 1:])


def test_a_program_that_breaks_a_rule_is_refused(tx: Transactions, program: Program) -> None:
    schema, payload = encode_schema(tx.schema), program.payload
    cut, wrong = payload[:-8], bytearray(payload)
    wrong[2] = 255  # registers
    for bad in (b"", cut, bytes(wrong)):
        with pytest.raises(PackError, match="refuses this feature program: TFIN_E_"):
            FeatureTwin(schema, bad)
    for bad in (b"", schema[:-16], bytes([255]) + schema[1:]):
        with pytest.raises(PackError, match="refuses this feature program: TFIN_E_SCHEMA"):
            FeatureTwin(bad, payload)
    FeatureTwin(schema, payload)


def test_a_network_that_breaks_a_rule_is_refused() -> None:
    pack = parse_pack(PACKS[0].read_bytes())
    assert pack.plan is not None
    readout = pack.sections["READ"]
    for plan in (b"", pack.plan[:-16], b"\1" + pack.plan[1:]):
        with pytest.raises(PackError, match="refuses this network: TFIN_E_"):
            NetworkTwin(plan, readout)
    outside = Readout.logit(60_000).encode()
    for bad in (b"", readout[:-1], outside):
        with pytest.raises(PackError, match="refuses this network: TFIN_E_MODEL"):
            NetworkTwin(pack.plan, bad)
    NetworkTwin(pack.plan, readout)


def test_training_signs_no_pack(
    tx: Transactions, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyfin.pack.container.sign", lambda *_: pytest.fail("a pack is signed"))
    config = load(None)
    assert len(compute_features(tx, config, program)) == len(tx)
    (amount,) = computed_numbers([field("amount_minor")], config, tx, np.arange(len(tx)))
    assert np.array_equal(amount, tx.column("amount_minor"))
