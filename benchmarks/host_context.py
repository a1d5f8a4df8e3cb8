# SPDX-License-Identifier: Apache-2.0
"""What a host context takes: memory of a card, look-ups and updates per second of one core.

    python -m benchmarks.host_context [--cards N] [--odds FILE] [--snapshot]

Every card gets a request, its outcome and a notice of fraud, so that none of its memory is left
untouched; look-ups are of cards drawn at random, in batches. Seconds are processor time of one
core; memory is what the process grew by (Linux). The command in a terminal makes the figures of
docs/features.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from tinyfin import HostContext
from tinyfin.serving.host_context import Events
from tinyfin.training.card_odds import CardOdds

START_S = 800_000_000
CARDS = 1_000_000
BATCH = 10_000
LOOK_UPS = 2_000_000
SINGLE = 20_000
SEED = 1


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def seconds_of(job: Callable[[], object]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    job()
    return time.process_time() - start


def fill(context: HostContext, tokens: np.ndarray) -> float:
    """A request, an outcome and a notice of each card; the seconds that this took."""
    spent = 0.0
    for first in range(0, len(tokens), BATCH):
        part = np.repeat(tokens[first : first + BATCH], 3)
        kind = np.tile(np.arange(3, dtype=np.uint8), len(part) // 3)
        times = np.uint32(START_S) + kind
        about = np.select([kind == 0, kind == 1], [1234, 0], START_S)
        id_ = np.ones(len(part), np.uint64)
        events = Events(kind, part, id_, times, about, (kind == 2).astype(np.int16))
        spent += seconds_of(partial(context.update_all, events))
    return spent


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description="Measure a host context.")
    parser.add_argument("--cards", type=int, default=CARDS)
    parser.add_argument("--odds", type=Path, help="what `host-fields --learn-until` wrote")
    parser.add_argument("--snapshot", action="store_true", help="write and restore one, too")
    asked = parser.parse_args()
    before = resident_bytes()
    odds = None if asked.odds is None else CardOdds.read(asked.odds)
    context = HostContext(asked.cards, odds=odds)
    tokens = np.arange(1, asked.cards + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    own = tokens.nbytes
    updates = fill(context, tokens)
    grown = resident_bytes() - before - own
    drawn = np.random.default_rng(SEED).integers(0, asked.cards, LOOK_UPS)
    times = np.full(BATCH, START_S + 60, np.uint32)
    batches = [tokens[drawn[i : i + BATCH]] for i in range(0, LOOK_UPS, BATCH)]
    looked = seconds_of(lambda: [context.look_up(batch, times) for batch in batches])
    some = tokens[drawn[:SINGLE]].tolist()
    single = seconds_of(lambda: [context.fields(token, START_S + 60) for token in some])
    print(f"cards: {len(context):,}, evicted {context.evicted}")
    print(f"memory: {grown / 1e9:.2f} GB, {grown / len(context):.0f} bytes a card")
    print(f"updates: {3 * asked.cards / updates:,.0f} a second and core")
    print(f"look-ups, {BATCH:,} a call: {LOOK_UPS / looked:,.0f} a second and core")
    print(f"look-ups, one a call: {SINGLE / single:,.0f} a second and core")
    if asked.snapshot:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cards"
            start = time.monotonic()
            context.snapshot(path)
            wrote = time.monotonic() - start
            del context
            start = time.monotonic()
            HostContext(asked.cards, odds=odds).restore(path)
            print(
                f"snapshot: {path.stat().st_size / 1e9:.2f} GB, written in {wrote:.1f} s, "
                f"restored in {time.monotonic() - start:.1f} s"
            )


if __name__ == "__main__":
    main()
