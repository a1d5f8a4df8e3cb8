# SPDX-License-Identifier: Apache-2.0
"""Compares the terminal with the twin: before anything is sent, and every frame of answers."""

from __future__ import annotations

import zlib

import numpy as np

from tinyfin.errors import MismatchError
from tinyfin.hil.replay.localize import verdict_difference
from tinyfin.hil.replay.sender import Sent
from tinyfin.pack.container import Pack
from tinyfin.pack.plan import describe
from tinyfin.twin import Replay as Expected
from tinyfin.twin import Twin
from tinyfin.wire.messages import Hello, Verdicts, WireVerdict
from tinyfin.wire.refusals import refused_pack

__all__ = ["Comparer", "refuse_other_pack"]


def refuse_other_pack(
    name: str, pack: Pack, twin: Twin, types: tuple[int, ...], hello: Hello
) -> None:
    """Raises what :func:`refused_pack` says when the terminal refused its own pack, MismatchError
    when it runs one of another shape than ``pack``: then not even its frames would be understood.
    """
    if hello.open_error:
        needed = () if pack.plan is None else describe(pack.plan)["kernel_names"]
        detail = f"the pack's network needs {', '.join(needed)}" if needed else ""
        raise refused_pack(name, hello.open_error, detail)
    mine = (len(types), twin.feature_count, twin.input_count, twin.output_count, twin.state_size)
    its = (hello.fields, hello.features, hello.inputs, hello.outputs, hello.state_bytes)
    if mine != its:
        raise MismatchError(
            f"{name}: runs pack {hello.pack_id}, which is not this run's ({twin.pack_id.hex()}): "
            f"fields, features, inputs, outputs, state bytes are {its}, expected {mine}. Build and "
            "flash the firmware of this run"
        )


class Comparer:
    """The twin's answers for one chunk; :meth:`begin`, then :meth:`frame` in order."""

    def __init__(self, expected: Expected, network: bool) -> None:
        self.digest = 0
        """CRC-32 over the twin's features and outputs of the events so far."""
        parts = [expected.features, *([expected.outputs] if network else [])]
        seen = [np.ascontiguousarray(part).view(np.uint8) for part in parts]
        joined = np.concatenate([part.reshape(len(part), -1) for part in seen], axis=1)
        self._width = joined.shape[1]
        self._seen = memoryview(joined.tobytes())
        self._verdicts = [
            WireVerdict(*row)
            for row in zip(
                expected.score_q32.tolist(),
                expected.raw.tolist(),
                expected.action.tolist(),
                (
                    tuple(ids[:count])
                    for ids, count in zip(
                        expected.reasons.tolist(), expected.reason_count.tolist(), strict=True
                    )
                ),
                expected.flags.tolist(),
                strict=True,
            )
        ]

    def begin(self, digest: int) -> None:
        """Start, or start again, from the digest of what the device scored before."""
        self.digest = digest

    def frame(self, sent: Sent, answer: Verdicts) -> int:
        """How many verdicts of the frame differ; a digest that differs counts as one."""
        differing = 0
        width = self._width
        for row, verdict in zip(sent.scored, answer.verdicts, strict=True):
            self.digest = zlib.crc32(self._seen[row * width : (row + 1) * width], self.digest)
            differing += verdict_difference(self._verdicts[row], verdict) is not None
        if answer.digest != self.digest or answer.count != sent.count:
            differing = max(1, differing)
        return differing
