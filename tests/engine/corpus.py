# SPDX-License-Identifier: Apache-2.0
"""Writes what the fuzz targets begin with: ``python -m tests.engine.corpus``.

To be run again when a format changes; tests/engine/test_fuzz.py says so.
"""

from __future__ import annotations

import random

from tests.support import monitors, packs
from tests.support.native import TEST, Engine

CORPUS = TEST / "corpus"


def golden_mirror() -> bytes:
    """The mirror pack with golden vectors that the engine itself answered."""
    parts = packs.mirror()
    engine = Engine(packs.build(parts))
    answers = [engine.infer(x.tobytes()) for x in packs.golden_inputs(3, 2)]
    return packs.build({**parts, "GOLD": packs.golden(3, answers)})


def monitored() -> bytes:
    """The small pack with DRFT and LEVL."""
    decision = packs.decision(3, online=monitors.USUAL[0])
    more = {"DECI": decision, "DRFT": monitors.DRIFT, "LEVL": monitors.LEVELS}
    return packs.build({**packs.small(), **more})


def main() -> None:
    for folder in ("pack", "state", "events"):
        (CORPUS / folder).mkdir(parents=True, exist_ok=True)
    for name, pack in (
        ("small", packs.build(packs.small())),
        ("rich", packs.build(packs.rich())),
        ("mirror", golden_mirror()),
        ("monitored", monitored()),
    ):
        (CORPUS / "pack" / name).write_bytes(pack)
    features = {tag: packs.rich()[tag] for tag in ("SCHM", "PROG")}
    (CORPUS / "pack" / "features").write_bytes(packs.build(features))
    (CORPUS / "state" / "cold").write_bytes(Engine(packs.build(packs.rich())).export())
    rng = random.Random(1)
    for i in range(3):
        (CORPUS / "events" / f"random{i}").write_bytes(rng.randbytes(2048))


if __name__ == "__main__":
    main()
