# SPDX-License-Identifier: Apache-2.0
"""What the network of a run sees, as arrays to train another network on.

The rows are split as the run split them, so that a network made elsewhere trains on no row that
calibrates or tests it, and on no label that came too late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tinyfin.config import parse_moment
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError
from tinyfin.features.compiler import compile_program
from tinyfin.pack.maps import map_inputs
from tinyfin.training.dataset import compute_features
from tinyfin.training.families import codes_to_float, family
from tinyfin.training.run_folder import RunFolder, open_run
from tinyfin.training.split import MIN_FRAUDS, SLICES, known_and_clean, known_labels

__all__ = ["PARTS", "NetworkInputs", "Partition", "network_inputs"]

PARTS = SLICES
"""What a row is for, by index; -1 is none of them: not labelled in time, or outside of the run."""


@dataclass(frozen=True)
class Partition:
    """How a run split its transactions. Moments in seconds since 2000-01-01."""

    since_s: int
    validation_s: int
    calibration_s: int
    until_s: int
    test_until_s: int
    supervised: bool
    """It trained on rows of known label; else on those that were not known to be fraud."""
    calibrated_on_labels: bool
    young_s: int
    """Known labels of rows from this second on took no part."""

    @classmethod
    def of(cls, run: RunFolder) -> Partition:
        """That of ``run``. Raises ModelError when the folder is no run."""
        split = run.facts().split
        supervised = family(run.config().model.family).supervised
        return cls(
            since_s=parse_moment(split.since),
            validation_s=parse_moment(split.validation_from),
            calibration_s=parse_moment(split.calibration_from),
            until_s=parse_moment(split.until),
            test_until_s=parse_moment(split.test_until),
            supervised=supervised,
            calibrated_on_labels=supervised or split.calibration.frauds >= MIN_FRAUDS,
            young_s=parse_moment(split.labels_until or split.until),
        )

    def part(self, tx: Transactions) -> npt.NDArray[np.int8]:
        """Index into :data:`PARTS` of each row, -1 for none."""
        t = tx.t_mono_s.astype(np.int64)
        known, clean = known_and_clean(tx, self.since_s, self.until_s)
        known &= t < self.young_s
        learn = known if self.supervised else clean
        calibrate = known if self.calibrated_on_labels else clean
        part = np.full(len(tx), -1, np.int8)
        part[learn & (t < self.validation_s)] = 0
        part[learn & (t >= self.validation_s) & (t < self.calibration_s)] = 1
        part[calibrate & (t >= self.calibration_s)] = 2
        part[(t >= self.until_s) & (t < self.test_until_s) & (tx.label >= 0)] = 3
        return part


@dataclass(frozen=True)
class NetworkInputs:
    """One row per transaction, n of them, in input order; F features."""

    names: tuple[str, ...]
    """Of the F features."""
    codes: npt.NDArray[np.int8]
    """[n, F]: the bytes that the network in the terminal gets."""
    label: npt.NDArray[np.int8]
    """1 fraud, 0 genuine, -1 not known; before the run's ``until``, as it was known by then."""
    part: npt.NDArray[np.int8]
    """Index into :data:`PARTS`, -1 for none."""
    transactions: Transactions

    def of(self, part: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Rows of one part, for Keras: inputs float32[m, F], the codes over 64; labels float32[m],
        NaN where not known. Raises InputError for another name."""
        if part not in PARTS:
            raise InputError(f"part {part!r}: there are {', '.join(PARTS)}")
        rows = self.part == PARTS.index(part)
        label = self.label[rows].astype(np.float32)
        label[label < 0] = np.nan
        return codes_to_float(self.codes[rows]), label


def network_inputs(run: RunFolder | str | Path, paths: Sequence[str | Path]) -> NetworkInputs:
    """The inputs of the network of ``run`` for the transactions of files, computed by the
    terminal's own engine, state warm from the first row on.

    All rows are held in memory; ``tinyfin network-inputs RUN DATA --out FILE --with-part`` writes
    the same chunk by chunk. Raises DataError, ModelError.
    """
    from tinyfin.data.readers import read

    found = open_run(run)
    config, parting = found.config(), Partition.of(found)
    tx = read(list(paths), config)
    program = compile_program(config.features, config.schema, **config.features.capacities)
    features = compute_features(tx, config, program)
    return NetworkInputs(
        names=program.feature_names,
        codes=map_inputs(found.maps(), features),
        label=known_labels(tx, parting.until_s),
        part=parting.part(tx),
        transactions=tx,
    )
