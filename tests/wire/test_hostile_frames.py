# SPDX-License-Identifier: Apache-2.0
"""Well-formed frames with hostile payloads, on a terminal built with sanitizers."""

from __future__ import annotations

import random

import pytest

from tests.support import sample
from tests.wire.test_terminal import small_frame
from tinyfin.hil.links.host_process import build_host_terminal
from tinyfin.wire.client import Client
from tinyfin.wire.frames import encode_frame
from tinyfin.wire.links import Deadline, ProcessLink

pytestmark = pytest.mark.live

SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
HARMLESS_END = (0x01, 0x0B, 0x0C)  # these begin a session, restart or end the terminal


def test_hostile_payloads_never_leave_the_buffers() -> None:
    program = build_host_terminal(sample.make_pack(), cflags=SANITIZE)
    client = Client(ProcessLink([str(program)]))
    rng = random.Random(1)
    base = small_frame()
    try:
        client.connect()
        for _ in range(60):
            expected = client.checkpoint().expected
            for _ in range(40):
                kind = rng.choice([2, 2, 2, 4, 5, 7, 8, 3, rng.randrange(0x30)])
                junk = rng.randbytes(rng.randrange(1, 60))
                payload = bytearray(base if rng.random() < 0.7 else junk)
                for _ in range(rng.randrange(4)):
                    payload[rng.randrange(len(payload))] = rng.randrange(256)
                number = expected if rng.random() < 0.8 else rng.randrange(65536)
                kind = 2 if kind in HARMLESS_END else kind
                client.link.write(encode_frame(kind, number, bytes(payload)))
            while client._receive(Deadline(0.02)) is not None:
                pass
        assert client.stats()["frames_good"] > 2000
    finally:
        client.close()
