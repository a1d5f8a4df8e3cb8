# SPDX-License-Identifier: Apache-2.0
"""Measure every target: networks, opening a pack, budgets. Writes docs/benchmarks.md and .json.

    python .ci/bench.py [TARGET ...]

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

from tinyfin.hil import benchmarks
from tinyfin.targets import catalogue, flash

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = json.loads((ROOT / ".ci" / "bench_reference.json").read_text(encoding="utf-8"))
PACK = ROOT / "models" / "payment" / "model.tfpack"
NETWORKS = ("ae16_pt", "mlp16_pt", "mlp32_pt", "ad01_int8", "ae16_pc", "mlp16_pc", "mlp32_pc")
TFLM = ("tflm-cmsis-int8only", "tflm-cmsis")
COMMAND = "make bench"
OPENING = 2000


def anchors() -> list[benchmarks.Case]:
    """The models that are compared with other runtimes; empty where they are not at hand."""
    folder = Path(os.environ.get("TINYFIN_SHARED", ROOT.parent / "shared")) / "anchors"
    if not folder.is_dir():
        print(f"{folder} is not here: the anchor models are not measured", file=sys.stderr)
        return []
    return [
        benchmarks.Case(
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
        return REFERENCE["tflm_cmsis_ad01_m0"]
    for runtime in TFLM:
        for row in REFERENCE["rows"]:
            if (row["cpu"], row["runtime"], row["model"]) == (core, runtime, network):
                return row["instructions"]
    return None


def compared(row: dict) -> dict:
    """A network's row with what it is held against."""
    core, name = core_of(row["target"]), row["network"]
    own = {"m0": "cortex-m0", "m4": "cortex-m4", "m55": "cortex-m55"}.get(core or "")
    floor = REFERENCE["floors"].get(core, {}).get(name)
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


def measure(target: str, cases: list[benchmarks.Case]) -> dict:
    """Everything about one target."""
    start = time.monotonic()
    chosen = catalogue.get(target)
    pack = flash.target_pack(PACK, chosen).read_bytes()
    found = {
        "target": target,
        "networks": [compared(row) for row in benchmarks.networks(chosen, cases)],
        "opening": benchmarks.opening(chosen, pack),
        "opening_network": benchmarks.opening(chosen, benchmarks.network_only(pack)),
        "budget": benchmarks.budget_row(target, PACK),
        "network_code": None,
    }
    if cases:
        small = next(case for case in cases if case.name == "mlp32_pt")
        found["network_code"] = benchmarks.network_code(chosen, small)
    print(f"{target}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    return found


def version(program: str) -> str:
    """First line of --version, or that it is missing."""
    if shutil.which(program) is None:
        return f"{program}: not installed"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30)
    return done.stdout.splitlines()[0] if done.stdout else program


def features() -> list[dict]:
    """Instructions of the feature engine, where its bench is there."""
    try:
        from tinyfin.features import bench
    except ImportError:
        return []
    rows = getattr(bench, "rows", None)
    return rows() if rows else []


def problems(results: list[dict]) -> list[str]:
    """What must not be: other bytes, predictions that are too low."""
    told = []
    for found in results:
        target = found["target"]
        for opening in (found["opening"], found["opening_network"]):
            if opening["open_instructions"] > OPENING:
                told.append(f"{target}: opening takes more than {OPENING} instructions")
        told += [
            f"{target}: {row['network']}: {row['differing_bytes']} bytes differ from TFLM's"
            for row in found["networks"]
            if row.get("differing_bytes")
        ]
        budget = found["budget"]
        if "error" in budget:
            told.append(f"{target}: {budget['error']}")
            continue
        if budget["measured"]["max"] > budget["instructions"]["bound"]:
            told.append(f"{target}: an event of the other data is dearer than the bound")
        if budget["stack_painted_bytes"] > budget["stack_bound_bytes"]:
            told.append(f"{target}: the painted stack is deeper than the call graph's bound")
    return told


# ------------------------------------------------------------------------------------------- page


def table(head: list[str], rows: list[list]) -> list[str]:
    """A Markdown table; numbers with thousands separators, None as a dash."""

    def cell(value: object) -> str:
        if value is None or value == "":
            return "-" if value is None else ""
        return f"{value:,}" if isinstance(value, int) else str(value)

    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows)]


def page(result: dict) -> str:
    """docs/benchmarks.md."""
    reference = REFERENCE["provenance"]
    targets = result["targets"]
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{COMMAND}`; the numbers are also in [benchmarks.json](benchmarks.json). "
        "All counts are guest instructions under QEMU's `-icount`, exact and repeatable; they are "
        "not cycles: no wait states, no dual issue, no beats.",
        "",
        *(f"- {text}" for text in result["tools"]),
        "",
        "## Networks: instructions of one inference",
        "",
    ]
    if any(found["networks"] for found in targets):
        rows = [
            [
                row["target"], row["network"], row["instructions"], row.get("differing_bytes"),
                row["tflm_cmsis_nn"], row["bare_cmsis_nn"], row["goal"], row["floor"],
                row["times_floor"], row.get("plan_bytes"), row.get("scratch_bytes"), row["note"],
            ]
            for found in targets
            for row in found["networks"]
        ]  # fmt: skip
        lines += table(
            ["target", "network", "instructions", "bytes that differ from TFLM",
             "TFLM + CMSIS-NN", "bare CMSIS-NN", "goal", "floor", "times floor",
             "plan B (weights included)", "RAM B (activations, scratch)", "note"],
            rows,
        )  # fmt: skip
    else:
        lines.append("The anchor models were not at hand: not measured.")
    lines += [
        "",
        f"TFLM and CMSIS-NN were measured on {reference['measured']} with "
        f"{reference['toolchain']}, {reference['emulator']}. TFLM: {reference['tflm']}. "
        f"Bare: {reference['bare']}. Floors count only what the instruction set cannot avoid: "
        + "; ".join(f"{core}: {text}" for core, text in reference["floors"].items())
        + ". They are not derived for the other instruction sets.",
        "",
        "## Flash of the network's code, weights apart",
        "",
    ]
    code = [found["network_code"] for found in targets if found["network_code"]]
    ours = {row["cpu"]: row["runtime_flash_bytes"] for row in REFERENCE["rows"]
            if row["runtime"] == "tflm-cmsis-int8only" and row["model"] == "mlp32_pt"}  # fmt: skip
    lines += table(
        ["target", "network", "code B", "TFLM + CMSIS-NN code B", "stack of a run B"],
        [
            [row["target"], row["network"], row["code_bytes"],
             ours.get(core_of(row["target"]) or "")
             if row["target"] in ("cortex-m0", "cortex-m4", "cortex-m55") else None,
             row["stack_bytes"]]
            for row in code
        ],
    ) if code else ["Not measured."]  # fmt: skip
    lines += [
        "",
        "## Opening the reference pack",
        "",
        "`tfin_bind`: what is left of opening a pack that is verified, state made cold included; "
        "at most 2,000 instructions are the goal. Its golden vectors are one inference each. "
        "`tfin_verify`, the integrity pass, reads every byte: hash, signature (counted to 63 "
        "instructions), and the checks of the contents. Network only: the same network in a pack "
        "whose features are the event's fields, which is what an interpreter's start-up compares "
        "with (TFLM: 27,000 to 203,000).",
        "",
        *table(
            ["target", "pack", "open (tfin_bind)", "golden vectors", "contents", "hash per byte",
             "bytes hashed", "signature"],
            [
                [o["target"], kind, o["open_instructions"], o["golden_instructions"],
                 o["contents_instructions"], o["hash_instructions_per_byte"], o["hashed_bytes"],
                 o["signature_instructions"]]
                for found in targets
                for kind, o in (
                    ("reference", found["opening"]), ("network only", found["opening_network"])
                )
            ],
        ),
        "",
        "## Budgets of the reference pack: predicted and measured",
        "",
        "`tinyfin budget models/payment/model.tfpack`. Predicted: flash and RAM from the linked "
        "image, stack from the call graph, instructions as the bound that the program gives (its "
        "operators each at its dearest, an inference per input for the reasons). "
        "Measured: the stack that a replay touched, and the instructions of "
        f"{benchmarks.OTHER_EVENTS} transactions of other simulated terminals.",
        "",
    ]  # fmt: skip
    rows, parts = [], []
    for found in targets:
        b = found["budget"]
        if "error" in b:
            rows.append([found["target"], b["error"], *[None] * 11])
            continue
        i, m, f = b["instructions"], b["measured"], b["flash"]
        rows.append([
            b["target"], b["flash_bytes"], b["ram"]["total"], b["stack_bound_bytes"],
            b["stack_painted_bytes"], i["bound"], m["max"], m["p99_9"], m["median"],
            i["features_median"], i["network"], i["reasons_max"], i["outcome_max"],
        ])  # fmt: skip
        parts.append([
            b["target"], f["engine"], f["network"], f["plan"], f["pack"], f["signature check"],
            f["application"], f["startup"], f["compiler library"], b["ram"]["state"],
            b["ram"]["scratch"], b["ram"]["frame buffers"],
            ", ".join(f"{o['operator']} {o['instructions']:,}" for o in i["largest"][:3]),
        ])  # fmt: skip
    lines += table(
        ["target", "flash B", "variables B", "stack bound B", "stack painted B",
         "score: bound", "score: max", "99.9%", "median", "features (median)", "network",
         "reasons (max)", "outcome (max)"],
        rows,
    )  # fmt: skip
    lines += ["", "Where flash and RAM go, and what is largest in the bound of a score:", ""]
    lines += table(
        ["target", "engine", "network", "plan", "rest of pack", "signature check", "application",
         "startup", "compiler library", "state", "scratch", "frame buffers", "dearest operators"],
        parts,
    )  # fmt: skip
    lines += ["", "## Feature engine", ""]
    if result["features"]:
        head = list(result["features"][0])
        lines += table(head, [[row.get(key) for key in head] for row in result["features"]])
    else:
        lines.append("Not measured apart; see features (median) above.")
    return "\n".join(lines) + "\n"


def main() -> int:
    names = sys.argv[1:] or list(catalogue.load())
    cases = anchors()
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = list(pool.map(lambda name: measure(name, cases), names))
    result = {
        "command": COMMAND,
        "tools": [
            version(program)
            for program in (
                "arm-none-eabi-gcc", "riscv64-unknown-elf-gcc", "xtensa-lx106-elf-gcc",
                "qemu-system-arm",
            )
        ],
        "reference": REFERENCE["provenance"],
        "targets": results,
        "features": features(),
    }  # fmt: skip
    complete = bool(cases) and not sys.argv[1:]
    folder = ROOT / ("docs" if complete else "build")
    folder.mkdir(exist_ok=True)
    text = page(result)
    (folder / "benchmarks.md").write_text(text, encoding="utf-8")
    (folder / "benchmarks.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(text)
    print(f"written: {folder / 'benchmarks.md'}", file=sys.stderr)
    told = problems(results)
    for problem in told:
        print(f"error: {problem}", file=sys.stderr)
    return 4 if told else 0


if __name__ == "__main__":
    sys.exit(main())
