# SPDX-License-Identifier: Apache-2.0
"""What each feature costs on a target: guest instructions, counted by the instrument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyfin.data.events import event_stream
from tinyfin.data.transactions import Transactions
from tinyfin.errors import InputError, MismatchError, TargetError
from tinyfin.features.compiler import compile_program
from tinyfin.features.definition import OWN_FEATURE_ID, Feature
from tinyfin.features.expressions import const
from tinyfin.measure import instrument
from tinyfin.measure.pack_costs import default_data
from tinyfin.pack.container import build_pack
from tinyfin.schema import PAYMENT, Schema
from tinyfin.targets import catalogue
from tinyfin.targets.build import BuildResult

__all__ = ["feature_instructions"]

EVENTS = 200
"""Simulated payments that each feature is computed for."""

_NOTHING = Feature("nothing", OWN_FEATURE_ID, 0, "", "", "before", const(0))


def feature_instructions(
    features: Sequence[Feature], schema: Schema, target: str
) -> dict[str, int]:
    """By feature: the most instructions that it adds to scoring a payment, alone in a program.

    Features that share operators cost less together. Raises InputError for a schema that is not
    that of payments, TargetError where instructions cannot be counted.
    """
    if schema.names[: len(PAYMENT.names)] != PAYMENT.names:
        raise InputError(f"schema {schema.name!r}: instructions are counted on simulated payments")
    tx = _with_fields(default_data(), schema)
    stream = event_stream(tx)
    counting = catalogue.counting(catalogue.get(target))
    if counting is None:
        raise TargetError(f"{target}: has no emulator; take one that has (tinyfin targets)")
    image = instrument.build(counting[0], code_of=counting[1])
    most: list[int] = []
    tape = instrument.Tape()
    for feature in (_NOTHING, *features):
        pack = build_pack(schema, compile_program([feature], schema))
        [(part, _)] = instrument.event_tapes(
            pack, tx, stream, instrument.room(image), limit=EVENTS, measure=True
        )
        if len(tape) + len(part) > instrument.room(image):
            most += _dearest(image, tape)
            tape = instrument.Tape()
        tape.extend(part)
    most += _dearest(image, tape)
    return {f.name: n - most[0] for f, n in zip(features, most[1:], strict=True)}


def _with_fields(tx: Transactions, schema: Schema) -> Transactions:
    """Payments with values for the fields that the schema appends: the payment's amount for an
    amount, 0 for an enum, else 1."""
    appended = schema.fields[len(PAYMENT.fields) :]
    values = np.empty((len(tx), len(schema.fields)), np.int64)
    values[:, : len(PAYMENT.fields)] = tx.values[:, :]
    present = tx.present
    for i, spec in enumerate(appended, len(PAYMENT.fields)):
        amount = tx.column("amount_minor").astype(np.int64) if spec.unit == "minor" else 1
        most = min(spec.bounds[1], np.iinfo(np.int64).max)
        values[:, i] = 0 if spec.type == "enum" else np.minimum(amount, most)
        present = present | np.uint32(1 << i)
    return replace(tx, schema=schema, values=values, present=present)


def _dearest(image: BuildResult, tape: instrument.Tape) -> list[int]:
    """Per pack of the tape, the most expensive score."""
    found = instrument.run(image, tape, icount=True)
    if found.differing:
        raise MismatchError(f"{found.target}: {found.first}; run `tinyfin replay` to find out more")
    most: list[int] = []
    for word, numbers in found.lines:
        if word == "opened":
            most.append(0)
        elif word == "score":
            most[-1] = max(most[-1], found.instructions(numbers[0]))
    return most
