# SPDX-License-Identifier: Apache-2.0
"""docs/benchmarks.md from what ``python -m benchmarks`` measured."""

from __future__ import annotations

import textwrap
from typing import Any

from tinyfin.targets import catalogue

Found = dict[str, Any]

NAMES = {
    "m0": "ARMv6-M",
    "m3": "ARMv7-M",
    "m4": "DSP",
    "m55": "Helium",
    "rv32": "rv32imc",
    "lx106": "lx106",
}
PAIRS = (("ae16_pt", "ae16_pc"), ("mlp16_pt", "mlp16_pc"), ("mlp32_pt", "mlp32_pc"))


def table(head: list[str], rows: list[list[Any]]) -> list[str]:
    """A Markdown table; numbers with thousands separators, None as a dash."""

    def cell(value: object) -> str:
        if value is None or value == "":
            return "-" if value is None else ""
        return f"{value:,}" if isinstance(value, int) else str(value)

    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows)]


def wrapped(line: str) -> str:
    """A paragraph or an item of a list in lines of 100 columns; rows of tables as they are."""
    if line.startswith(("|", "#")):
        return line
    return textwrap.fill(
        line,
        100,
        subsequent_indent="  " if line.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    )


def alike(rows: list[list[Any]]) -> list[list[Any]]:
    """Rows that differ in their first cell, the target, only: one row that names them all."""
    merged: list[list[Any]] = []
    for row in rows:
        same = next((other for other in merged if other[1:] == row[1:]), None)
        if same is None:
            merged.append(list(row))
        else:
            same[0] += f", {row[0].removeprefix('cortex-')}"
    return merged


def times(large: float | None, small: float | None) -> str | None:
    """A ratio with two digits behind the point."""
    return f"{large / small:.2f}" if large and small else None


def network(found: Found, name: str) -> Found:
    """A target's row of one network; empty when it was not measured."""
    return next((row for row in found["networks"] if row["network"] == name), {})


def summary(targets: list[Found]) -> list[str]:
    """What a reader wants first: one row per core."""
    rows = []
    for found in targets:
        row, code, budget = network(found, "mlp32_pt"), found["network_code"], found["budget"]
        count = row.get("instructions")
        measured = budget.get("measured", {})
        rows.append(
            [
                found["target"],
                count,
                times(count, row.get("floor")),
                times(row.get("portable"), count),
                times(row.get("tflm_cmsis_nn"), count),
                code and code["code_bytes"],
                budget.get("flash_bytes"),
                found["opening"]["whole_instructions"],
                measured.get("median"),
                measured.get("p99_9"),
            ]
        )
    return [
        "## At a glance",
        "",
        "A network of 4,128 multiply-accumulates (mlp32, 32-64-32-1, per-tensor), and the "
        "reference pack `models/payment` as a whole.",
        "",
        *table(
            [
                "target",
                "mlp32: instructions",
                "times its floor",
                "portable C needs, times",
                "TFLM + CMSIS-NN needs, times",
                "network code B",
                "whole image with pack B",
                "opening the pack",
                "a transaction: median",
                "99.9%",
            ],
            alike(rows),
        ),
        "",
        "A transaction is scored with features, network, calibration and, when it is not "
        "accepted, reasons (99.9%).",
        "",
    ]


def runtimes(rows: list[Found]) -> list[str]:
    """One network in three runtimes: bytes of code, model and RAM."""
    lines = ["## Sizes against other runtimes", ""]
    if not rows:
        return [*lines, "Not measured.", ""]
    return [
        *lines,
        "The network mlp32 alone on a Cortex-M4, without features, pack and signature. Code of "
        "TFLite Micro is its core and one kernel, `Register_FULLY_CONNECTED_INT8()`; emlearn's is "
        "its inline C with the core's FPU, compiled with -Os, and its weights are float. RAM is "
        "activations and scratch, for TFLite Micro the arena in use and its static variables.",
        "",
        *table(
            ["runtime", "weights", "code B", "model B", "flash B", "RAM B"],
            [
                [
                    row["runtime"],
                    row["weights"],
                    row["code_bytes"],
                    row["model_bytes"],
                    row["code_bytes"] + row["model_bytes"],
                    row["ram_bytes"],
                ]
                for row in rows
            ],
        ),
        "",
    ]


def networks(targets: list[Found], reference: Found) -> list[str]:
    """The table of the goals, per-channel ratios, and where floors come from."""
    lines = ["## Networks: instructions of one inference", ""]
    if not any(found["networks"] for found in targets):
        return [*lines, "The anchor models were not at hand: not measured.", ""]
    rows = [
        [
            row["target"],
            row["network"],
            row.get("differing_bytes"),
            row["instructions"],
            row["goal"],
            row["floor"],
            times(row["instructions"], row["floor"]),
            row.get("portable"),
            times(row.get("portable"), row["instructions"]),
            row["tflm_cmsis_nn"],
            row["bare_cmsis_nn"],
            row.get("plan_bytes"),
            row.get("scratch_bytes"),
            row["note"],
        ]
        for found in targets
        for row in found["networks"]
    ]
    lines += table(
        [
            "target",
            "network",
            "bytes that differ from TFLM",
            "instructions",
            "goal",
            "floor",
            "times floor",
            "portable kernel",
            "times ours",
            "TFLM + CMSIS-NN",
            "bare CMSIS-NN",
            "plan B (weights included)",
            "RAM B (activations, scratch)",
            "note",
        ],
        alike(rows),
    )
    lines += [
        "",
        "`_pt` has one scale per layer, `_pc` one per output. *Portable kernel* is the same plan "
        "on the same core with `fully_connected.c` in place of the core's own kernel, measured in "
        "the same run (`-DTFIN_KERNEL_PORTABLE`). Any model: `tinyfin bench MODEL.tflite "
        "--target T`.",
        "",
        f"TFLM and CMSIS-NN were measured on {reference['measured']} with "
        f"{reference['toolchain']}, {reference['emulator']}. TFLM: {reference['tflm']}. "
        f"Bare: {reference['bare']}.",
        "",
        "### Per-channel against per-tensor",
        "",
        "At most 1.10 is the goal.",
        "",
    ]
    ratios = [
        [
            found["target"],
            *(
                times(*(network(found, name).get("instructions") for name in pair[::-1]))
                for pair in PAIRS
            ),
        ]
        for found in targets
    ]
    lines += table(["target", *(pt.removesuffix("_pt") for pt, _ in PAIRS)], alike(ratios))
    lines += [
        "",
        "### Where the floors come from",
        "",
        "A floor counts what the instruction set cannot do without for the arithmetic alone: no "
        "loop, no padding of rows and columns to four, no layer's set-up. For a network it is the "
        "sum over layers of",
        "",
        *table(
            ["instruction set", "instructions"],
            [[NAMES[core], text] for core, text in reference["floors"].items()],
        ),
        "",
        "Small networks are further from their floor: setting up a layer costs 60 to 110 "
        "instructions, and a last layer of one output is computed as four rows. The floor of the "
        "DSP cores is that of weights already widened to 16 bits, at twice the flash; with one "
        "byte a weight the least is 14/16.",
        "",
    ]
    return lines


def code(targets: list[Found], rows: list[Found], core_of: Any) -> list[str]:
    """Flash of the network's code."""
    lines = ["## Flash of the network's code, weights apart", ""]
    made = [found["network_code"] for found in targets if found["network_code"]]
    if not made:
        return [*lines, "Not measured.", ""]
    theirs = {
        row["cpu"]: row["runtime_flash_bytes"]
        for row in rows
        if row["runtime"] == "tflm-cmsis-int8only" and row["model"] == "mlp32_pt"
    }
    own = ("cortex-m0", "cortex-m4", "cortex-m55")
    return [
        *lines,
        "`tinyfin bench` of mlp32: what its image links of the network, the plan's check included. "
        "The goal is 1,500. The stack of a run is painted.",
        "",
        *table(
            ["target", "code B", "TFLM + CMSIS-NN code B", "stack of a run B"],
            [
                [
                    row["target"],
                    row["code_bytes"],
                    theirs.get(core_of(row["target"]) or "") if row["target"] in own else None,
                    row["stack_bytes"],
                ]
                for row in made
            ],
        ),
        "",
    ]


def opening(targets: list[Found]) -> list[str]:
    """Opening the reference pack."""
    return [
        "## Opening the reference pack",
        "",
        "`tfin_open` does all of it. It is also there in two calls: `tfin_verify` reads every byte "
        "(hash, signature, counted to 63 instructions, and the checks of the contents); "
        "`tfin_bind` is what is left, state made cold included: at most 2,000 instructions are the "
        "goal, and one inference for each golden vector. The signature is the longest stretch "
        "between two calls of `progress`: a watchdog has to be longer. Network only: the same "
        "network in a pack whose features are the event's fields, which is what an interpreter's "
        "start-up compares with (TFLM: 27,000 to 203,000).",
        "",
        *table(
            [
                "target",
                "pack",
                "tfin_open",
                "of it tfin_bind",
                "golden vectors",
                "contents",
                "hash per byte",
                "bytes hashed",
                "signature",
            ],
            [
                [
                    o["target"],
                    kind,
                    o["whole_instructions"],
                    o["open_instructions"],
                    o["golden_instructions"],
                    o["contents_instructions"],
                    o["hash_instructions_per_byte"],
                    o["hashed_bytes"],
                    o["signature_instructions"],
                ]
                for found in targets
                for kind, o in (
                    ("reference", found["opening"]),
                    ("network only", found["opening_network"]),
                )
            ],
        ),
        "",
    ]


def ram_left(budget: Found) -> int:
    """Bytes of the part's RAM without variables and stack: for larger tables, or your own data."""
    stack = max(budget["stack_bound_bytes"], budget["stack_painted_bytes"])
    return int(catalogue.get(budget["target"]).ram_bytes - budget["ram"]["total"] - stack)


def budgets(targets: list[Found], events: int) -> list[str]:
    """Predicted and measured cost of the reference pack."""
    lines = [
        "## Budgets of the reference pack: predicted and measured",
        "",
        "`tinyfin budget models/payment/model.tfpack`. Predicted: flash and RAM from the linked "
        "image, stack from the call graph, the code of kernels in assembler and one interrupt at "
        "the deepest point, RAM left of what the part has, instructions as the bound that the "
        "program gives (each operator at its highest cost, an inference per input for the "
        "reasons). "
        "Measured: the stack that a replay touched, and the instructions of "
        f"{events} transactions of other simulated terminals.",
        "",
    ]
    rows, parts = [], []
    for found in targets:
        b = found["budget"]
        if "error" in b:
            rows.append([found["target"], b["error"], *[None] * 12])
            continue
        i, m, f = b["instructions"], b["measured"], b["flash"]
        rows.append(
            [
                b["target"],
                b["flash_bytes"],
                b["ram"]["total"],
                b["stack_bound_bytes"],
                b["stack_painted_bytes"],
                ram_left(b),
                i["bound"],
                m["max"],
                m["p99_9"],
                m["median"],
                i["features_median"],
                i["network"],
                i["reasons_max"],
                i["outcome_max"],
            ]
        )
        parts.append(
            [
                b["target"],
                f["engine"],
                f["network"],
                f["plan"],
                f["pack"],
                f["signature check"],
                f["slots and journal"],
                f["application"],
                f["startup"],
                f["compiler library"],
                b["ram"]["state"],
                b["ram"]["scratch"],
                b["ram"]["frame buffers"],
                b["ram"]["engine handle"],
                b["ram"]["slots and journal"],
                b["ram"]["application"] + b["ram"].get("monitor", 0),
                b["ram"]["startup"],
                ", ".join(f"{o['operator']} {o['instructions']:,}" for o in i["largest"][:3]),
            ]
        )
    lines += table(
        [
            "target",
            "flash B",
            "variables B",
            "stack bound B",
            "stack painted B",
            "RAM left B",
            "score: bound",
            "score: max",
            "99.9%",
            "median",
            "features (median)",
            "network",
            "reasons (max)",
            "outcome (max)",
        ],
        rows,
    )
    lines += ["", "Where flash and RAM go, and what is largest in the bound of a score:", ""]
    lines += table(
        [
            "target",
            "engine",
            "network",
            "plan",
            "rest of pack",
            "signature check",
            "slots, commands, audit, report",
            "application",
            "startup",
            "compiler library",
            "state",
            "scratch",
            "frame buffers",
            "engine handle",
            "RAM of slots, commands, audit, report",
            "RAM of application",
            "of startup",
            "most expensive operators",
        ],
        parts,
    )
    return [*lines, ""]


def watched(targets: list[Found]) -> list[str]:
    """Monitor, alert budget and shadow."""
    head = [
        "target",
        "monitor: features",
        "monitor, levels: RAM B",
        "shadow: RAM B",
        "monitor: predicted",
        "most on other data",
        "shadow: predicted",
        "most on other data",
    ]
    rows = [
        [
            found["target"],
            row["features"],
            row["monitor_bytes"],
            row["probation_bytes"],
            row["monitor_predicted"],
            row["monitor_measured"],
            row["shadow_predicted"],
            row["shadow_measured"],
        ]
        for found in targets
        if (row := found.get("watched")) is not None
    ]
    return [
        "",
        "## Drift, alert budget and shadow",
        "",
        "The reference pack with DRFT and LEVL ([probation.md](formats/probation.md)), and itself "
        "in its own shadow. Instructions per scored event, in addition to the score; predicted: "
        "the most of the events that `tinyfin budget` takes. RAM: handle and counts. On parts with "
        "8 kB fewer features are counted.",
        "",
        *table(head, alike(rows)),
        "",
    ]


def features(rows: list[Found]) -> list[str]:
    """The feature engine on the workstation."""
    lines = ["## Feature engine on the workstation", ""]
    if not rows:
        return [*lines, "Not measured in this run."]

    def shown(value: Any) -> Any:
        return (
            f"{value:.3g}"
            if isinstance(value, float) and value < 1e3
            else (round(value) if isinstance(value, float) else value)
        )

    head = list(rows[0])
    return [
        *lines,
        "One core; `benchmarks.feature_speed` says what is counted.",
        "",
        *table(
            [name.replace("_", " ") for name in head],
            [[shown(row.get(key)) for key in head] for row in rows],
        ),
    ]


def page(result: Found, reference: Found, events: int, core_of: Any) -> str:
    """docs/benchmarks.md."""
    targets = result["targets"]
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{result['command']}`; the numbers are also in "
        "[benchmarks.json](benchmarks.json). Every count of a target is guest instructions under "
        "QEMU's `-icount`, exact and repeatable; they are not cycles: no wait states, no dual "
        "issue, no beats. One target: `make bench TARGETS=cortex-m4`.",
        "",
        *summary(targets),
        *networks(targets, reference["provenance"]),
        *code(targets, reference["rows"], core_of),
        *opening(targets),
        *budgets(targets, events),
        *watched(targets),
        *runtimes(result["sizes"]),
        *features(result["features"]),
        "",
        "## Tools",
        "",
        *(f"- {text}" for text in result["tools"]),
    ]
    return "\n".join(map(wrapped, lines)) + "\n"
