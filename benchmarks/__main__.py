# SPDX-License-Identifier: Apache-2.0
"""Measure every target: networks, opening a pack, budgets. Writes docs/benchmarks.md and .json.

    python -m benchmarks [TARGET ...]

With target names, or where the anchor models are not at hand, the result goes to build/ and the
committed pages stay as they are. The anchors are looked for in TINYFIN_SHARED, by default
../shared. Exit code 4 when an answer differs from TFLM's or a prediction is below what was
measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks import feature_speed, page, sizes, targets
from benchmarks.page import Found
from tinyfin import files
from tinyfin.errors import ToolError
from tinyfin.targets import catalogue, flash

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = json.loads((ROOT / "benchmarks" / "reference.json").read_text(encoding="utf-8"))
PACK = ROOT / "models" / "payment" / "model.tfpack"
NETWORKS = ("ae16_pt", "mlp16_pt", "mlp32_pt", "ad01_int8", "ae16_pc", "mlp16_pc", "mlp32_pc")
TFLM = ("tflm-cmsis-int8only", "tflm-cmsis")
COMMAND = "make bench"
OPENING = 2000


def anchors() -> list[targets.Case]:
    """The models that are compared with other runtimes; empty where they are not at hand."""
    folder = Path(os.environ.get("TINYFIN_SHARED", ROOT.parent / "shared")) / "anchors"
    if not folder.is_dir():
        print(f"{folder} is not here: the anchor models are not measured", file=sys.stderr)
        return []
    return [
        targets.Case(
            name,
            folder / f"{name}.tflite",
            np.load(folder / f"{name}_in.npy"),
            np.load(folder / f"{name}_out_double.npy"),
        )
        for name in NETWORKS
    ]


def core_of(target: str) -> str | None:
    """The key of the reference's columns that have this target's instruction set."""
    return next((core for core, names in REFERENCE["cores"].items() if target in names), None)


def tflm(core: str | None, network: str) -> int | None:
    """Instructions of TFLM with CMSIS-NN, the fastest variant that was measured."""
    if core is None:
        return None
    if core == "m0" and network == "ad01_int8":
        return int(REFERENCE["tflm_cmsis_ad01_m0"])
    for runtime in TFLM:
        for row in REFERENCE["rows"]:
            if (row["cpu"], row["runtime"], row["model"]) == (core, runtime, network):
                return int(row["instructions"])
    return None


def derived_floor(core: str | None, row: Found) -> int | None:
    """A floor from the network's work, for instruction sets without a published one."""
    cost = REFERENCE["coefficients"].get(core)
    if cost is None or "macs" not in row:
        return None
    total: float = sum(cost[key] * row[key] for key in cost)
    return round(total)


def compared(row: Found) -> Found:
    """A network's row with what it is held against."""
    core, name = core_of(row["target"]), row["network"]
    own = {"m0": "cortex-m0", "m4": "cortex-m4", "m55": "cortex-m55"}.get(core or "")
    published = REFERENCE["floors"].get(core, {})
    floor = published.get(name.replace("_pc", "_pt")) or derived_floor(core, row)
    count = row.get("instructions")
    return {
        **row,
        "tflm_cmsis_nn": tflm(core, name) if row["target"] == own else None,
        "bare_cmsis_nn": REFERENCE["bare"].get(core, {}).get(name)
        if row["target"] == own
        else None,
        "goal": REFERENCE["goals"].get(core, {}).get(name),
        "floor": floor,
        "times_floor": round(count / floor, 2) if count and floor else None,
    }


def measure(target: str, cases: list[targets.Case]) -> Found:
    """Everything about one target."""
    start = time.monotonic()
    chosen = catalogue.get(target)
    pack = flash.target_pack(PACK, chosen).read_bytes()
    found = {
        "target": target,
        "networks": [compared(row) for row in targets.networks(chosen, cases)],
        "opening": targets.opening(chosen, pack),
        "opening_network": targets.opening(chosen, targets.network_only(pack)),
        "budget": targets.budget_row(target, PACK),
        "watched": targets.watched_row(target, PACK),
        "network_code": None,
    }
    if cases:
        small = next(case for case in cases if case.name == "mlp32_pt")
        found["network_code"] = targets.network_code(chosen, small)
    print(f"{target}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return found


def version(program: str) -> str:
    """First line of --version, or that it is missing."""
    if shutil.which(program) is None:
        return f"{program}: not installed"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
    return done.stdout.splitlines()[0] if done.stdout else program


def features() -> list[Found]:
    """Throughput of the feature engine, of Polars and of pandas, where they are installed."""
    try:
        return feature_speed.rows()
    except ToolError as error:
        print(f"feature engine: {error}", file=sys.stderr)
        return []


def compared_sizes(results: list[Found]) -> list[Found]:
    """One network in three runtimes, where they are installed."""
    m4 = next((found for found in results if found["target"] == "cortex-m4"), None)
    if m4 is None or not m4["networks"]:
        return []
    try:
        return sizes.sizes(m4, REFERENCE)
    except ToolError as error:
        print(f"sizes: {error}", file=sys.stderr)
        return []


def problems(results: list[Found]) -> list[str]:
    """What must not be: other bytes, predictions that are too low."""
    wrong = []
    for found in results:
        target = found["target"]
        for opening in (found["opening"], found["opening_network"]):
            if opening["open_instructions"] > OPENING:
                wrong.append(f"{target}: opening takes more than {OPENING} instructions")
        wrong += [
            f"{target}: {row['network']}: {row['differing_bytes']} bytes differ from TFLM's"
            for row in found["networks"]
            if row.get("differing_bytes")
        ]
        budget = found["budget"]
        if "error" in budget:
            wrong.append(f"{target}: {budget['error']}")
            continue
        if budget["measured"]["max"] > budget["instructions"]["bound"]:
            wrong.append(f"{target}: an event of the other data costs more than the bound")
        if budget["stack_painted_bytes"] > budget["stack_bound_bytes"]:
            wrong.append(f"{target}: the painted stack is deeper than the call graph's bound")
    return wrong


def main() -> int:
    names = sys.argv[1:] or list(catalogue.emulated())
    cases = anchors()
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = list(pool.map(lambda name: measure(name, cases), names))
    result = {
        "command": COMMAND,
        "tools": [
            version(program)
            for program in (
                "arm-none-eabi-gcc",
                "riscv64-unknown-elf-gcc",
                "xtensa-lx106-elf-gcc",
                "qemu-system-arm",
            )
        ],
        "reference": REFERENCE["provenance"],
        "targets": results,
        "sizes": compared_sizes(results),
        "features": features() if not sys.argv[1:] else [],
    }
    complete = bool(cases) and not sys.argv[1:]
    folder = ROOT / ("docs" if complete else "build")
    folder.mkdir(exist_ok=True)
    text = page.page(result, REFERENCE, targets.OTHER_EVENTS, core_of)
    files.write(folder / "benchmarks.md", text)
    files.write(folder / "benchmarks.json", json.dumps(result, indent=1) + "\n")
    print(text)
    print(f"written: {folder / 'benchmarks.md'}", file=sys.stderr)
    wrong = problems(results)
    for problem in wrong:
        print(f"error: {problem}", file=sys.stderr)
    return 4 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
