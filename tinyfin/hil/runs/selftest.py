# SPDX-License-Identifier: Apache-2.0
"""A terminal's self-test, seen from outside: small questions whose answers the twin knows.

The golden vectors of the pack ran when the terminal opened it: HELLO says how that went.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyfin.errors import BootError, MismatchError
from tinyfin.hil.replay.facts import ReplayFacts
from tinyfin.twin import Twin
from tinyfin.wire.client import Client
from tinyfin.wire.messages import Capability

__all__ = ["self_test"]

_VECTORS = 8


def self_test(client: Client, pack: bytes, keys: Sequence[bytes], name: str) -> ReplayFacts:
    """Cold state, network, state image and stack of a terminal; what was found.

    Raises MismatchError when an answer differs from the twin's, BootError when the stack was used
    up. What a release does not offer is left out, and said.
    """
    twin = Twin(pack, keys=keys)
    facts = ReplayFacts(left_out=[])
    if not client.hello.capabilities & Capability.STATE:
        facts.left_out.append("cold state, network alone, state image, stack (a release)")
        facts.stats = client.stats()
        return facts
    client.reset_state()
    twin.reset(0)
    cold = client.checkpoint()
    if cold.state_digest != twin.state_digest(0):
        raise MismatchError(
            f"{name}: self-test: the cold state has digest {cold.state_digest:08x}, expected "
            f"{twin.state_digest(0):08x}; is the firmware built from this run's pack?"
        )
    if client.hello.capabilities & Capability.INFER and twin.input_count:
        facts.network_vectors = _network(client, twin, name)
    else:
        facts.left_out.append("network alone (INFER is not offered)")
    _image(client, twin, name)
    painted, free = client.stack()
    if painted:
        facts.stack_bytes, facts.stack_free_bytes = painted, free
        if not free:
            raise BootError(
                f"{name}: self-test: its stack of {painted} bytes was used up; it may have "
                "overwritten variables. Give it more RAM, or a smaller model"
            )
    facts.stats = client.stats()
    return facts


def _network(client: Client, twin: Twin, name: str) -> int:
    rng = np.random.default_rng(1)
    inputs = rng.integers(-128, 128, (_VECTORS, twin.input_count)).astype(np.int8)
    outputs, raw = twin.infer(inputs)
    for at, row in enumerate(inputs):
        answer = client.infer(row.tobytes())
        if answer.error or answer.output != outputs[at].tobytes() or answer.raw != raw[at]:
            raise MismatchError(
                f"{name}: self-test: the network answers {answer.raw} (error {answer.error}) to "
                f"vector {at}, expected {raw[at]}; is the firmware built from this run's pack?"
            )
    return _VECTORS


def _image(client: Client, twin: Twin, name: str) -> None:
    image = twin.export_state(0)
    client.write_state(image)
    if client.read_state() != image:
        raise MismatchError(
            f"{name}: self-test: the state image that was written is read back with other bytes"
        )
    client.reset_state()
