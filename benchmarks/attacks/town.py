# SPDX-License-Identifier: Apache-2.0
"""A simulated town whose frauds an attacker can change, and what the terminals answer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.attacks.figures import Floats, Ints, log_odds
from tinyfin import simulator
from tinyfin.config import load
from tinyfin.data.events import event_stream
from tinyfin.data.readers import read
from tinyfin.data.transactions import EPOCH_UNIX_S, Transactions
from tinyfin.quantization.workflow import quantize
from tinyfin.simulator.attacks import Incident, attacks, incidents
from tinyfin.simulator.rows import Rows
from tinyfin.simulator.traffic import ordinary
from tinyfin.simulator.world import DAY, World
from tinyfin.training.run_folder import RunFolder
from tinyfin.training.workflow import train
from tinyfin.twin import Replay, Twin

START_S = 789_436_800
"""2025-01-06, a Monday."""


@dataclass(frozen=True)
class Crime:
    """One incident of a scenario, as the simulator would have it."""

    terminal: int
    rows: Rows
    """In order of time."""
    cuts: int
    """How many times without a host it made."""
    restarts: int


@dataclass(frozen=True)
class Answers:
    """What a pack said to the transactions of a town."""

    tx: Transactions
    replay: Replay
    place: Ints
    """Number of the terminal, per row."""

    @property
    def alert(self) -> npt.NDArray[np.bool_]:
        return self.replay.action > 0

    @property
    def log_odds(self) -> Floats:
        return log_odds(self.replay.score_q32)


class Town:
    """Ordinary business for ``warm_days`` and then ``open_days``, in which there are crimes."""

    def __init__(
        self, pack: bytes, *, terminals: int, warm_days: int, open_days: int, seed: int
    ) -> None:
        self.pack, self.seed, self.warm_days = pack, seed, warm_days
        self.config = load()
        self.world = World(terminals, warm_days + open_days, seed, START_S, {})
        self.business = [ordinary(self.world, terminal) for terminal in self.world.terminals]
        self._troubles = [(list(t.outages), list(t.reboots)) for t in self.world.terminals]

    def crimes(self, name: str) -> list[Crime]:
        """One incident of the scenario at each terminal where it happens, on the first or second
        open day."""
        attack = attacks()[name]
        code = list(attacks()).index(name) + 1
        out = []
        for terminal in self.world.terminals:
            if attack.merchants and terminal.kind not in attack.merchants:
                continue
            self.calm()
            rng = self.world.rng("attacks", name, terminal.index)
            busy = None if attack.hours else terminal.hours
            day = self.warm_days + int(rng.integers(2))
            start = START_S + day * DAY + int(rng.choice(attack.hours or 24, p=busy)) * 3600
            first_card = (crc32(name.encode()) << 24) + (terminal.index << 12)
            incident = Incident(self.world, terminal, rng, start, attack.label, code, first_card)
            rows = attack.inject(incident)
            order = np.argsort(rows["time_s"], kind="stable")
            outages, reboots = self._troubles[terminal.index]
            cuts = len(terminal.outages) - len(outages)
            restarts = len(terminal.reboots) - len(reboots)
            rows = {key: column[order] for key, column in rows.items()}
            out.append(Crime(terminal.index, rows, cuts, restarts))
        self.calm()
        return out

    def calm(self) -> None:
        """Forget what crimes did to links and terminals."""
        for terminal, (outages, reboots) in zip(self.world.terminals, self._troubles, strict=True):
            terminal.outages[:], terminal.reboots[:] = outages, reboots

    def disturb(self, crime: Crime, times: Ints) -> None:
        """Links that are cut and terminals that are restarted, for a crime at other ``times``."""
        terminal = self.world.terminals[crime.terminal]
        if crime.cuts:
            terminal.outages.extend((int(t) - 60, int(t) + 300) for t in times)
        if crime.restarts and len(times):
            terminal.reboots.append(int(times[0]) - 120)

    def usual_frauds(self) -> list[Rows]:
        """Incidents of the simulator, as often as by default."""
        self.calm()
        return incidents(self.world, {})

    def transactions(self, extra: Sequence[Rows] = ()) -> Transactions:
        """The business and ``extra``."""
        return read(simulator.as_table(self.world, [*self.business, *extra]), self.config)

    def answers(self, tx: Transactions, told: npt.NDArray[np.int8] | None = None) -> Answers:
        """What the pack says; ``told``: the labels that notices bring, true or not."""
        twin = Twin(self.pack, terminals=len(tx.terminals))
        heard = tx if told is None else replace(tx, label=told)
        replay = twin.run(heard, event_stream(heard, self.config.data.notices))
        place = np.array([int(name[1:]) for name in tx.terminals], np.int64)[tx.terminal]
        return Answers(tx, replay, place)

    def opens(self, terminal: int, start_s: int, offsets_s: npt.ArrayLike) -> Ints:
        """The times that lie ``offsets_s`` after ``start_s`` by a clock that runs only while the
        shop is open; without those behind the last day."""
        first = (start_s - START_S) // 3600
        hours = np.arange(first, self.world.days * 24)
        hours = hours[self.world.terminals[terminal].hours[hours % 24] > 0]
        since = (start_s - START_S) % 3600 if len(hours) and hours[0] == first else 0
        clock = since + np.asarray(offsets_s).astype(np.int64)
        clock = clock[clock < len(hours) * 3600]
        return START_S + hours[clock // 3600] * 3600 + clock % 3600

    def open_s_per_day(self, terminal: int) -> int:
        return int(np.count_nonzero(self.world.terminals[terminal].hours)) * 3600


def labelled(
    table: pa.Table, label: npt.NDArray[np.number], known: npt.ArrayLike = True
) -> pa.Table:
    """``table`` with other labels, 1 or 0; null where not ``known``."""
    mask = ~np.broadcast_to(np.asarray(known, bool), len(label))
    column = pa.array(label.astype(np.int8), pa.int8(), mask=mask)
    return table.set_column(table.column_names.index("label"), "label", column)


def places_and_times(table: pa.Table) -> tuple[Ints, Ints]:
    """Number of the terminal and seconds since 2000-01-01 of each row."""
    place = np.array([int(name[1:]) for name in table.column("terminal").to_pylist()], np.int64)
    return place, table.column("time").cast(pa.int64()).to_numpy() - EPOCH_UNIX_S


def learned(table: pa.Table, config: str, folder: Path, name: str) -> RunFolder:
    """A run with its pack, trained on ``table`` as the text of a tinyfin.toml says."""
    path = folder / f"{name}.toml"
    path.write_text(config)
    run = train(table, path, name=name, out=folder)
    quantize(run)
    return run
