# SPDX-License-Identifier: Apache-2.0
"""Answers of a terminal field by field, and where two answers to one request differ."""

from __future__ import annotations

import contextlib

from tinyfin.errors import ProtocolError
from tinyfin.wire import messages as m
from tinyfin.wire.messages import Request

__all__ = ["fields"]

_TICKS = 1
_DETAILS = {0: ("feature", 2), 1: ("network input", 1), 2: ("network output", 1)}


def fields(request: int, answer: bytes) -> dict[str, object]:
    """Name and value of everything in ``answer`` that a playback compares: ticks are another
    time's, and the number expected next is the session's own.

    An answer that is not what ``docs/formats/wire.md`` says has one field, its bytes.
    """
    with contextlib.suppress(ProtocolError, IndexError):
        if request == Request.EVENTS:
            return _verdicts(answer)
        if request in (Request.STATE_RESET, Request.STATE_WRITE):
            return {"engine error": m.Reader(answer, "ACK").signed()}
        if request == Request.CHECKPOINT_REQUEST:
            point = m.parse_checkpoint(answer)
            return {
                "state digest": f"{point.state_digest:08x}",
                "digest of features and network output": f"{point.digest:08x}",
                "events scored": point.scored,
            }
        if request == Request.INFER:
            said = m.parse_inferred(answer) if answer else None
            return (
                {}
                if said is None
                else {
                    "engine error": said.error,
                    "raw": said.raw,
                    "outputs": said.output_count,
                    **_numbers("network output", said.output, 1),
                }
            )
        if request == Request.DETAIL_READ:
            of, at, total = m.Reader(answer, "DETAIL").unpack("BHH")
            name, size = _DETAILS.get(of, (f"detail {of}", 1))
            return {"bytes": total, **_numbers(name, answer[5:], size, at // size)}
        if request == Request.STATE_READ:
            (at,) = m.Reader(answer, "STATE_DATA").unpack("I")
            return _numbers("byte of the state image", answer[4:], 1, at, signed=False)
    return {"bytes": answer.hex()}


def _numbers(
    name: str, data: bytes, size: int, first: int = 0, *, signed: bool = True
) -> dict[str, object]:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return {
        f"{name} {number}": int.from_bytes(piece, "little", signed=signed)
        for number, piece in enumerate(pieces, first)
    }


def _verdicts(answer: bytes) -> dict[str, object]:
    how, count, digest = m.Reader(answer, "VERDICTS").unpack("BBI")
    found: dict[str, object] = {
        "events taken": count,
        "digest of features and network output": f"{digest:08x}",
    }
    if how & _TICKS:
        return found
    said = _parsed(answer)
    for at, verdict in enumerate(said.verdicts):
        row = {
            "engine error": verdict.error,
            "score_q32": verdict.score_q32,
            "raw": verdict.raw,
            "action": verdict.action,
            "reasons": list(verdict.reasons),
            "flags": verdict.flags,
        }
        found |= {f"verdict {at}, {name}": value for name, value in row.items()}
    found |= {f"event {at}, engine error": error for at, error in said.errors}
    if said.mark is not None:
        found["state digest"] = f"{said.mark.state_digest:08x}"
        found["events scored"] = said.mark.scored
    return found


def _parsed(answer: bytes) -> m.Verdicts:
    """The answer holds no count of its verdicts: the one with which it comes out even."""
    for scores in range(len(answer) // 2, -1, -1):
        with contextlib.suppress(ProtocolError):
            said = m.parse_verdicts(answer, scores)
            if all(at < said.count and error < 0 for at, error in said.errors):
                return said
    raise ProtocolError("the VERDICTS frame is damaged")
