# SPDX-License-Identifier: Apache-2.0
"""Run every network at hand on emulated targets; print a table, write build/bench.json.

    python .ci/bench.py [TARGET ...]      cortex-m4 when none is given

The networks are models/*/model.tflite, with random inputs, and the anchors of TINYFIN_SHARED (by
default ../shared), with inputs and answers. Exit code 4 when an answer differs from the expected.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ROWS = 256
COLUMNS = (
    ("instructions", "instructions"),
    ("flash_bytes", "flash B"),
    ("ram_bytes", "RAM B"),
    ("stack_bytes", "stack B"),
    ("mismatched_bytes", "differ"),
)


def networks(work: Path) -> list[tuple[str, list[str]]]:
    """Name and arguments of `tinyfin bench` for each network."""
    found = []
    for model in sorted((ROOT / "models").glob("*/model.tflite")):
        from tinyfin.quantize.tflite_model import load  # heavy: only when there is a model

        width = load(model).input_tensor.size
        inputs = work / f"{model.parent.name}.npy"
        rows = np.random.default_rng(1).integers(-128, 128, (ROWS, width), dtype=np.int8)
        np.save(inputs, rows)
        found.append((model.parent.name, [str(model), "--inputs", str(inputs)]))
    anchors = Path(os.environ.get("TINYFIN_SHARED", ROOT.parent / "shared")) / "anchors"
    for model in sorted(anchors.glob("*.tflite")):
        base = model.with_suffix("")
        words = [str(model), "--inputs", f"{base}_in.npy", "--expect", f"{base}_out_double.npy"]
        found.append((model.stem, words))
    if not anchors.is_dir():
        print(f"{anchors} is not here: the anchor models are left out", file=sys.stderr)
    return found


def main() -> int:
    targets = sys.argv[1:] or ["cortex-m4"]
    results, failed = [], False
    with tempfile.TemporaryDirectory() as temporary:
        print(f"{'target':<14} {'network':<14}" + "".join(f"{t:>14}" for _, t in COLUMNS))
        for target in targets:
            for name, words in networks(Path(temporary)):
                command = [sys.executable, "-m", "tinyfin", "bench", *words]
                done = subprocess.run(
                    [*command, "--target", target, "--json"],
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=1200,
                )
                row = json.loads(done.stdout or "{}")
                results.append({"target": target, "network": name, **row})
                if "instructions" in row:
                    cells = "".join(f"{row[key]!s:>14}" for key, _ in COLUMNS)
                else:
                    cells = "  " + done.stderr.strip().splitlines()[-1]
                print(f"{target:<14} {name:<14}{cells}", flush=True)
                failed = failed or done.returncode not in (0, 7)
    out = ROOT / "build" / "bench.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 4 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
