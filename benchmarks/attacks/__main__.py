# SPDX-License-Identifier: Apache-2.0
"""Attack the reference model in simulated towns, and write what it costs and what it gives.

    python -m benchmarks.attacks [--out DIR] [--seed 11] [ATTACK ...]

Writes attacks.json and attacks.md into DIR. The same seed gives the same bytes on the same machine.
What the figures mean is in docs/security.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.attacks import evasion, extraction, inversion, membership, poisoning
from benchmarks.attacks.town import Town
from tinyfin import files

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "models" / "payment" / "model.tfpack"

Found = tuple[Any, str]
"""What goes into the JSON, and the page."""


def evade(pack: bytes, seed: int) -> Found:
    town = Town(pack, terminals=24, warm_days=16, open_days=12, seed=seed)
    found = evasion.measure(town, seed)
    return [asdict(one) for one in found], evasion.page(found)


def poison(pack: bytes, seed: int) -> Found:
    town = Town(pack, terminals=24, warm_days=16, open_days=4, seed=seed)
    sales = poisoning.by_sales(town, poisoning.frauds())
    with tempfile.TemporaryDirectory(prefix="tinyfin-") as folder:
        notified = poisoning.notices_pack(Path(folder), seed + 1, terminals=24, days=60)
    notices = {
        name: poisoning.by_notices(
            Town(one, terminals=24, warm_days=16, open_days=24, seed=seed), seed
        )
        for name, one in (("trained on compromises", notified), ("payment", pack))
    }
    pages = [poisoning.page(sales)]
    for name, one in notices.items():
        pages += [f"Pack: {name}.", *poisoning.notices_page(one)]
    return {"sales": [asdict(one) for one in sales], "notices": notices}, "\n\n".join(pages)


def infer(pack: bytes, seed: int) -> Found:
    with tempfile.TemporaryDirectory(prefix="tinyfin-") as folder:
        found = membership.measure(Path(folder), seed, terminals=16, days=40)
    facts = {name: {key: asdict(one) for key, one in of.items()} for name, of in found.items()}
    return facts, membership.page(found)


def invert(pack: bytes, seed: int) -> Found:
    found = inversion.measure(*inversion.town(pack, seed, terminals=40, days=40), seed)
    facts = {name: {key: asdict(one) for key, one in of.items()} for name, of in found.items()}
    return facts, inversion.page(found)


def extract(pack: bytes, seed: int) -> Found:
    asked, _ = inversion.town(pack, seed + 1, terminals=40, days=60)
    others, _ = inversion.town(pack, seed, terminals=16, days=30)
    found = extraction.measure(extraction.Queries.of(asked), extraction.Queries.of(others), seed)
    return [asdict(one) for one in found], extraction.page(found)


ATTACKS: Mapping[str, Callable[[bytes, int], Found]] = {
    "evasion": evade,
    "poisoning": poison,
    "membership": infer,
    "inversion": invert,
    "extraction": extract,
}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "attacks")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=", ".join(ATTACKS))
    asked = parser.parse_args(arguments)
    if unknown := set(asked.attacks) - set(ATTACKS):
        parser.error(f"no attack {', '.join(sorted(unknown))}; there are {', '.join(ATTACKS)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    pack = PACK.read_bytes()
    facts, pages = {}, []
    for name in asked.attacks or ATTACKS:
        start = time.monotonic()
        facts[name], page = ATTACKS[name](pack, asked.seed)
        pages.append(f"## {name}\n\n{page}\n")
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    result = {"command": f"python -m benchmarks.attacks --seed {asked.seed}", "attacks": facts}
    files.write(asked.out / "attacks.json", json.dumps(result, indent=1) + "\n")
    files.write(asked.out / "attacks.md", "\n".join(pages))
    print("\n".join(pages))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
