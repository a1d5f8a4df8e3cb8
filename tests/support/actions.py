# SPDX-License-Identifier: Apache-2.0
"""Own features that learn from what the terminal did, and files that say what it did."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tinyfin.config import from_table
from tinyfin.data.transactions import ACTIONS, Transactions
from tinyfin.features.compiler import Program, compile_program
from tinyfin.schema import PAYMENT

_FEATURES = """
[features]
names = "default"

[features.declined_here]
expression = "last_n('terminal', 16, outcome('action') == 2, itself=false)"
reason = 0

[features.careful_run]
expression = "run('terminal', outcome('action') != 0, when=('approved', 'declined'))"
reason = 0
"""
ACTION_FEATURES = ("declined_here", "careful_run")


def program_with_actions() -> Program:
    """The default features, then ACTION_FEATURES."""
    return compile_program(from_table(tomllib.loads(_FEATURES)).features, PAYMENT)


def with_actions(table: pa.Table, seed: int) -> pa.Table:
    """A column ``action`` behind the others: often accept, sometimes nothing."""
    rng = np.random.default_rng(seed)
    names = rng.choice([*ACTIONS, None], len(table), p=[0.6, 0.2, 0.15, 0.05])
    return table.append_column("action", pa.array(names.tolist(), pa.string()))


def without_actions(tx: Transactions) -> Transactions:
    """What a file without that column gives."""
    return replace(tx, action=np.zeros(len(tx), np.uint8))
