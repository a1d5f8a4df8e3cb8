# SPDX-License-Identifier: Apache-2.0
"""Fields that a model's program reads and the transactions do not have."""

from __future__ import annotations

from collections.abc import Callable

from tinyfin.data.seen import Seen
from tinyfin.features.check_program import names_read
from tinyfin.results.run import MissingFields
from tinyfin.training.run_folder import RunFolder

__all__ = ["require_fields"]

_OPTIONAL = "transaction_type"
"""A file without types has sales only."""


def require_fields(
    program: bytes, seen: Seen, run: RunFolder | None, model: str, note: Callable[[str], None]
) -> MissingFields:
    """The facts on fields that the program reads and no row has; a warning says
    so if there are any.

    ``run`` knows what the rows had that the model was trained on: what they lacked, too, is not
    missed.
    """
    names = seen.schema.names
    trained = None if run is None else run.facts().data.fields
    wanted = names_read(program, names)
    wanted = wanted - {_OPTIONAL} if trained is None else wanted & set(trained)
    missing = [name for name in (*names, "response") if name in wanted - seen.names]
    if missing:
        note(
            f"WARNING: no row has {', '.join(missing)}, which the features of {model} read: its "
            "answers mean little; map these fields in [data], or train a model on files like these"
        )
    return MissingFields(missing=missing, only_other=seen.only_other)
