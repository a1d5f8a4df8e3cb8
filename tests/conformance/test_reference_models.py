# SPDX-License-Identifier: Apache-2.0
"""The reference models that are no plain payments, on emulated targets: terminal health with a
struct of its own, a plain table, and payments with what a host knows."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import sample
from tests.support.process import needs_cortex_m
from tests.training.test_any_event import PLAIN
from tinyfin import paths, simulator
from tinyfin.codegen.emit import emit
from tinyfin.config import Config, Simulate, from_table, load
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.data.transactions import Transactions
from tinyfin.features.compiler import compile_program
from tinyfin.hil.links.session import emulated
from tinyfin.hil.replay import replay
from tinyfin.hil.replay.result import ReplayResult
from tinyfin.oracle.engine import NO_HOST
from tinyfin.schema import PAYMENT_HOST
from tinyfin.simulator.health import simulate_health
from tinyfin.targets import build as building
from tinyfin.targets.emulate import Emulator
from tinyfin.training.host_fields import host_columns
from tinyfin.twin import Twin

MODELS = paths.project_dir() / "models"
HEALTH, HOST = MODELS / "terminal_health", MODELS / "payment_host"
APP = paths.firmware_dir() / "test" / "health"
HOURS, SAGS_FROM = 400, 300

pytestmark = needs_cortex_m


def replayed(pack: Path, name: str, tx: Transactions, limit: int) -> ReplayResult:
    image = building.build(name, pack=pack)
    with emulated(name, image.elf, icount=False) as session:
        found = replay(
            pack.read_bytes(), tx, event_stream(tx), session.client, limit=limit, target=name
        )
    found.check()
    assert found.verdicts == limit
    return found


# ----------------------------------------------------------------------------- terminal health


def report(hour: int) -> list[int]:
    """What firmware/test/health/main.c reports in an hour."""

    def noise(hour: int) -> int:
        x = hour * 2654435761 % 2**32
        return (x ^ x >> 15) % 16

    sag = (hour - SAGS_FROM) * 3 // 2 if hour > SAGS_FROM else 0
    reads = noise(hour + 7) if hour % 24 > 6 else 0
    return [
        5000 + noise(hour) - sag,
        250 + hour % 24 * 3 + sag // 4,
        0,
        reads,
        0,
        int(sag > 80 and hour % 5 == 0),
        420,
    ]


def by_the_twin() -> tuple[int, int]:
    twin, crc, first = Twin((HEALTH / "model.tfpack").read_bytes()), 0, 0
    for hour in range(1, HOURS + 1):
        verdict = twin.score(0, hour, 3600 * hour, 3600 * hour, report(hour), 127)
        crc = zlib.crc32(twin.features(0).astype("<i2").tobytes(), crc)
        crc = zlib.crc32(verdict.score_q32.to_bytes(4, "little") + bytes([verdict.action]), crc)
        first = first or hour * bool(verdict.action)
        twin.outcome(0, hour, 3600 * hour, 0, 0, 0)
    return first, crc


@pytest.mark.parametrize("name", ["cortex-m4", "stm32vldiscovery"])
def test_a_terminal_watches_itself_through_its_own_struct(name: str, tmp_path: Path) -> None:
    """The struct that codegen made of another schema, filled by C; the same answers as the twin's,
    and the sagging supply is told while the terminal still runs."""
    first, crc = by_the_twin()
    assert SAGS_FROM < first < HOURS
    generated = tmp_path / "generated"
    emit(HEALTH / "model.tfpack", generated)
    image = building.build(name, app=APP, generated_dir=generated, build_dir=tmp_path / "pio")
    with Emulator(image.target, image.elf, seed=1) as emulator, emulator.connect(20) as link:
        said = sample.line_of(link)
    assert said == f"health {first} {crc}\n".encode()


@pytest.mark.parametrize("name", ["cortex-m4", "stm32vldiscovery"])
def test_terminal_health_is_replayed(name: str, tmp_path: Path) -> None:
    data = tmp_path / "health.parquet"
    simulator.write(simulate_health(Simulate(terminals=2, days=12, seed=4)), data)
    replayed(HEALTH / "model.tfpack", name, read([data], load(HEALTH / "tinyfin.toml")), 200)


# ------------------------------------------------------------------------------- a plain table


def plain_pack(config: Config) -> bytes:
    program = compile_program(config.features, config.schema, **config.features.capacities)
    return sample.answering_pack(config.schema, program, -1000, 1000)


@pytest.mark.parametrize("name", ["cortex-m4"])
def test_a_plain_table_is_replayed(name: str, tmp_path: Path) -> None:
    """Columns in, a score out, no history; the target's features are the columns."""
    import tomllib

    config = from_table(tomllib.loads(PLAIN))
    pack, data = tmp_path / "chips.tfpack", tmp_path / "chips.csv"
    pack.write_bytes(plain_pack(config))
    rows = np.random.default_rng(2).integers(-1000, 1000, (150, 3))
    np.savetxt(data, rows, "%d", ",", header="a,b,c", comments="")
    tx = read([data], config)
    found = replayed(pack, name, tx, 150)
    assert len(np.unique(found.score_q32)) > 20
    assert np.array_equal(Twin(pack.read_bytes()).run(tx, event_stream(tx)).features, rows)


# -------------------------------------------------------------------------------- host context


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Transactions:
    """Payments with what a host would have sent; every third one came without."""
    path = tmp_path_factory.mktemp("host") / "town.parquet"
    simulator.write(simulator.simulate(Simulate(terminals=3, days=10, seed=6)), path)
    tx = read([path], load(HOST / "tinyfin.toml"))
    values, present = tx.values.copy(), tx.present.copy()
    for name, column in host_columns(tx).items():
        i = PAYMENT_HOST.index(name)
        come = (column >= 0) & (np.arange(len(tx)) % 3 > 0)
        values[:, i] = np.where(come, column, PAYMENT_HOST.fields[i].missing)
        present |= come.astype(present.dtype) << i
    return replace(tx, values=values, present=present)


@pytest.mark.parametrize("name", ["cortex-m4"])
def test_payments_with_a_host_are_replayed(name: str, told: Transactions) -> None:
    """Host fields travel in the events; NO_HOST says where they did not come."""
    found = replayed(HOST / "model.tfpack", name, told, 300)
    missed = (found.flags & NO_HOST) != 0
    assert np.array_equal(missed, found.row % 3 == 0)
    assert 50 < missed.sum() < 150


def test_scoring_uses_only_what_travelled(told: Transactions) -> None:
    """What the host knew and did not send changes nothing; what it sent does."""
    pack = (HOST / "model.tfpack").read_bytes()
    terminals = len(told.terminals)
    right = Twin(pack, terminals=terminals).run(told, event_stream(told))
    first = PAYMENT_HOST.index("host_card_count_1d")
    sent = (told.present >> first & 1) != 0
    wild = np.where(sent[:, None], told.values[:, first:], 12345)
    unsent = replace(told, values=np.concatenate([told.values[:, :first], wild], axis=1))
    same = Twin(pack, terminals=terminals).run(unsent, event_stream(unsent))
    assert np.array_equal(same.score_q32, right.score_q32)
    mute = replace(told, present=told.present & np.uint32((1 << first) - 1))
    other = Twin(pack, terminals=terminals).run(mute, event_stream(mute))
    assert (other.flags & NO_HOST != 0).all()
    assert np.array_equal(other.score_q32[~sent], right.score_q32[~sent])
    assert (other.score_q32[sent] != right.score_q32[sent]).mean() > 0.4


def test_a_model_without_host_fields_needs_none(told: Transactions) -> None:
    found = Twin(
        (MODELS / "payment" / "model.tfpack").read_bytes(), terminals=len(told.terminals)
    ).run(told, event_stream(told))
    assert not (found.flags & NO_HOST).any()
