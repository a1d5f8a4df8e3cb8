# SPDX-License-Identifier: Apache-2.0
"""What a service answers, as its OpenAPI document describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, create_model

from tinyfin import schema
from tinyfin.data.transactions import ACTIONS
from tinyfin.features.catalogue import reason_text
from tinyfin.serving.bodies import ActionName
from tinyfin.twin import FLAGS, Verdict, error_name

__all__ = ["Result", "ScoredTransaction", "fields_answer", "result", "verdicts"]

_Q32 = 2.0**32


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScoredTransaction(_Answer):
    """What the terminal would answer: the columns that `tinyfin score` writes."""

    terminal: str
    id: int
    score: float = Field(description="probability of fraud, or a rank where none is calibrated")
    score_q32: int = Field(description="the same times 2^32")
    raw: int
    action: ActionName
    reasons: list[str] = Field(description="why the score is high; none for accept")
    reason_ids: list[int]
    flags: list[str]
    flag_bits: int


class Result(_Answer):
    """What became of an outcome, a notice or an event."""

    status: Literal["applied", "refused"]
    message: str | None = Field(description="why it was refused")


def fields_answer(specs: Sequence[schema.Field]) -> type[BaseModel]:
    """The answer that has these fields."""
    fields: dict[str, Any] = {
        spec.name: (int | None, Field(description=spec.doc)) for spec in specs
    }
    return create_model(
        "Fields",
        __base__=_Answer,
        __doc__="The host's fields of a card; null where the host knows nothing.",
        **fields,
    )


def verdicts(
    terminals: Sequence[str], answers: Sequence[Verdict], own: Mapping[int, str]
) -> list[str]:
    """Verdicts as JSON, named as `tinyfin score` names them, with the same digits; ``own`` has the
    pack's own texts of reasons."""
    scores = pa.array([answer.score_q32 / _Q32 for answer in answers]).cast(pa.string())
    made = []
    for terminal, answer, score in zip(terminals, answers, scores.to_pylist(), strict=True):
        place = json.dumps({"terminal": terminal, "id": answer.id})
        more = {
            "score_q32": answer.score_q32,
            "raw": answer.raw,
            "action": ACTIONS[answer.action],
            "reasons": [reason_text(i, own) or f"reason {i}" for i in answer.reasons],
            "reason_ids": list(answer.reasons),
            "flags": [name for bit, name in FLAGS.items() if answer.flags & bit],
            "flag_bits": answer.flags,
        }
        made.append(f'{place[:-1]}, "score": {score}, {json.dumps(more)[1:]}')
    return made


def result(error: int) -> str:
    """What the engine said of an event, as JSON."""
    if error == 0:
        return '{"status": "applied", "message": null}'
    return json.dumps({"status": "refused", "message": error_name(error)})
