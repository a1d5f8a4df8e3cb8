# SPDX-License-Identifier: Apache-2.0
"""Sections of the report, from its facts: words, tables and pictures in reading order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tinyfin.hil.reporting.detection_sections import alerts, detection, scorers
from tinyfin.hil.reporting.wire_section import wire_blocks
from tinyfin.pages import charts
from tinyfin.pages.blocks import Block, code, count, figure, fixed, number, percent, table, text
from tinyfin.pages.render import PageSection
from tinyfin.pages.scorers import population_name

__all__ = ["first_differences", "headline", "sections"]

Facts = Mapping[str, Any]


def headline(facts: Facts) -> list[tuple[str, str]]:
    """The figures on top: name and value."""
    out: list[tuple[str, str]] = []

    def add(name: str, values: Sequence[Any]) -> None:
        known = [v for v in values if isinstance(v, (int, float))]
        if known:
            out.append((name, f"{sum(known):,}"))

    replays = facts["replays"]
    add("transactions replayed", [r.get("transactions") for r in replays])
    add("mismatches", [r.get("mismatches") for r in replays])
    add("lost", [r.get("lost") for r in replays])
    scorer = scorers(facts).get("model_int8")
    if scorer:
        out.append(("average precision, int8", fixed(scorer.get("average_precision"))))
        out.append(("recall at 0.1 % false positives", percent(scorer.get("recall_at_0.1%"))))
    if facts["instructions"]:
        first = facts["instructions"][0]
        out.append(("instructions per transaction, median", count(first.get("median"))))
        out.append(("instructions per transaction, most", count(first.get("max"))))
    if facts["pack"]:
        out.append(("pack, bytes", count(facts["pack"]["bytes"])))
    for key, name in (("flash_bytes", "flash, bytes"), ("ram_bytes", "RAM, bytes")):
        if facts["targets"] and facts["targets"][0].get(key) is not None:
            out.append((name, count(facts["targets"][0][key])))
    return out


def first_differences(facts: Facts) -> list[str]:
    """One line per replay that differed: where, and what both sides gave."""
    return [
        f"{r.get('target', 'target')}: row {d.get('row')} (id {d.get('id')}, terminal "
        f"{d.get('terminal')}), {d.get('field')}: the workstation gives {d.get('expected')}, the "
        f"target {d.get('got')}"
        for r in facts["replays"]
        for d in _differences(r)[:1]
    ]


def sections(facts: Facts) -> list[PageSection]:
    """All sections that have something to say."""
    made = [
        PageSection("where", "What ran where", _where(facts)),
        PageSection("parity", "Equal answers", _parity(facts)),
        PageSection("detection", "Detection in the test period", detection(facts)),
        PageSection("alerts", "Alerts in the replay", alerts(facts)),
        PageSection("instructions", "Instructions per transaction", _instructions(facts)),
        PageSection("sizes", "Sizes", _sizes(facts)),
        PageSection("wire", "The wire", wire_blocks(facts)),
    ]
    for i, extra in enumerate(facts["more"]):
        made.append(PageSection(f"more-{i}", str(extra.get("title", "")), _extra(extra)))
    made.append(PageSection("missing", "Not measured", _missing(facts)))
    made.append(PageSection("again", "How to do it again", _again(facts)))
    return [section for section in made if section.blocks]


def _where(facts: Facts) -> list[Block]:
    names = ["", *(t["name"] for t in facts["targets"])]
    rows: list[list[str]] = []

    def row(name: str, values: Sequence[Any]) -> None:
        if any(value is not None for value in values):
            rows.append([name, *("not reported" if v is None else str(v) for v in values)])

    replays, targets = facts["replays"], facts["targets"]
    row("board", [t.get("title") for t in targets])
    row("core", [t.get("core") for t in targets])
    row("kind", [t.get("kind") for t in targets])
    row("firmware build", [r.get("build_id") for r in replays])
    row("pack", [r.get("device_pack", r.get("pack")) for r in replays])
    row("boot nonce", [r.get("boot_nonce") for r in replays])
    out = [table("Targets", names, rows)] if rows else []
    about = _about(facts)
    if about:
        out.append(table("What was run", ["", ""], about))
    return out


def _about(facts: Facts) -> list[list[str]]:
    run, pack, data = facts["run"] or {}, facts["pack"] or {}, facts["data"] or {}
    trained = run.get("data") or {}
    model, split = run.get("model") or {}, run.get("split") or {}
    meta = (
        ("run", run.get("name")),
        ("model", pack.get("model_id")),
        ("pack of the run", pack.get("pack_id")),
        ("pack format", pack.get("format_version")),
        ("signed by", pack.get("signed_by")),
        ("engine, at least", pack.get("minimum_engine")),
        ("network", _network(model)),
        ("features", len(pack["features"]) if pack.get("features") else None),
        ("seed", model.get("seed")),
        ("data of the replay", _span(data)),
        ("fingerprint of that data", data.get("fingerprint")),
        ("training data", ", ".join(str(f.get("name")) for f in trained.get("files") or ())),
        ("fingerprint of the training data", trained.get("fingerprint")),
        ("learned from", _learned(split)),
        (
            "test period",
            f"{split['until']} to {split['test_until']}"
            if split.get("until") and split.get("test_until")
            else None,
        ),
        ("configuration, SHA-256", run.get("config_sha256")),
        ("versions", ", ".join(f"{k} {v}" for k, v in (run.get("versions") or {}).items())),
    )
    return [[name, str(value)] for name, value in meta if value not in (None, "")]


def _network(model: Facts) -> str | None:
    if not model:
        return None
    hidden = " + ".join(str(h) for h in model.get("hidden") or ())
    family, parameters = model.get("family", "?"), model.get("parameters", "?")
    return f"{family}, hidden {hidden or 'none'}, {parameters} parameters"


def _span(data: Facts) -> str | None:
    if not data:
        return None
    return (
        f"{data['rows']:,} transactions of {data['terminals']:,} terminals, {data['from']} to "
        f"{data['to']}, {data['frauds']:,} frauds"
    )


def _learned(split: Facts) -> str | None:
    fit, held = split.get("fit"), split.get("calibration")
    if not isinstance(fit, Mapping) or not isinstance(held, Mapping):
        return None
    return (
        f"{fit['rows']:,} transactions with {fit['frauds']:,} frauds, calibrated on "
        f"{held['rows']:,} with {held['frauds']:,}"
    )


def _parity(facts: Facts) -> list[Block]:
    out: list[Block] = []
    rows = [
        [
            str(r.get("target", "")),
            count(r.get("transactions")),
            count(r.get("verdicts")),
            count(r.get("mismatches")),
            count(r.get("lost")),
            count(r.get("checkpoints")),
            ", ".join(map(str, r.get("compared") or ())) or "nothing",
        ]
        for r in facts["replays"]
    ]
    if rows:
        out.append(
            table(
                "Terminal against workstation, byte for byte",
                [
                    "target",
                    "transactions",
                    "verdicts",
                    "mismatches",
                    "lost",
                    "states compared",
                    "compared",
                ],
                rows,
            )
        )
    first = [
        [
            str(r.get("target", "")),
            *(
                str(d.get(k, ""))
                for k in ("row", "id", "terminal", "field", "expected", "got", "note")
            ),
        ]
        for r in facts["replays"]
        for d in _differences(r)
    ]
    if first:
        out.append(
            table(
                "First differences (input rows count from 0)",
                ["target", "row", "id", "terminal", "field", "workstation", "target gives", "note"],
                first,
            )
        )
    parity = facts["parity"]
    if parity is not None:
        out += _network_parity(parity)
    return out


def _differences(replay: Facts) -> list[Facts]:
    found = replay.get("first_mismatches") or replay.get("first_mismatch") or []
    rows = [found] if isinstance(found, Mapping) else list(found)
    return [row for row in rows if isinstance(row, Mapping)]


_TFLM = "TensorFlow Lite Micro"
_RUNTIMES = {
    "plan": "tinyfin's plan, which the terminal runs",
    "litert_auto": "ai-edge-litert, default kernels",
    "litert_reference": "ai-edge-litert, reference kernels",
    "interpreter": "the interpreter of --interpreter",
}


def _words(name: str) -> str:
    return name.replace("_", " ")


def _network_parity(parity: Facts) -> list[Block]:
    rows = []
    oracle = parity.get("reference") == "the oracle"
    for key, name in _RUNTIMES.items():
        found = parity.get(key)
        if isinstance(found, Mapping):
            rows.append(
                [name, count(found.get("differing_bytes")), count(found.get("max_abs_difference"))]
            )
    out = []
    if rows:
        out.append(
            table(
                f"Network outputs against {'the plain-Python oracle' if oracle else _TFLM}: "
                f"{count(parity.get('rows'))} inputs, "
                f"{count(parity.get('bytes'))} bytes",
                ["interpreter", "bytes differ", "by at most"],
                rows,
            )
        )
    differences = parity.get("float_and_int8")
    if isinstance(differences, Mapping) and differences:
        rows = [
            [
                population_name(population),
                _words(metric),
                fixed(pair.get("float"), 4),
                fixed(pair.get("int8"), 4),
                _difference(pair),
            ]
            for population, metrics in differences.items()
            for metric, pair in metrics.items()
        ]
        out.append(
            table("What int8 costs", ["transactions", "metric", "float", "int8", "change"], rows)
        )
    if oracle:
        return out
    out.append(
        text(
            "TensorFlow Lite Micro is the contract: the plan has to give its bytes. The other "
            "interpreters round differently; their distance is reported, not followed."
        )
    )
    return out


def _difference(pair: Facts) -> str:
    a, b = pair.get("float"), pair.get("int8")
    return f"{b - a:+.4f}" if isinstance(a, float) and isinstance(b, float) else "-"


def _instructions(facts: Facts) -> list[Block]:
    out: list[Block] = []
    hz = facts["example_hz"]
    rows = []
    for i, m in enumerate(facts["instructions"]):
        marks = [
            (name, float(m[key]))
            for key, name in (("median", "median"), ("p99_9", "99.9 %"), ("max", "maximum"))
            if m.get(key) is not None
        ]
        for key, name in ((None, "all"), ("accepted", "accepted"), ("alerted", "with reasons")):
            part = m if key is None else m.get(key)
            if part:
                rows.append(
                    [
                        m["target"],
                        name,
                        count(part.get("count")),
                        *(count(part.get(k)) for k in ("median", "p99_9", "max")),
                        _microseconds(part.get("max"), hz),
                    ]
                )
        for name, value in (m.get("parts") or {}).items():
            rows.append([m["target"], str(name), "", count(value), "", "", ""])
        bins = m.get("histogram")
        if bins:
            edges, counts = bins["edges"], bins["counts"]
            out.append(
                figure(
                    charts.histogram(
                        f"instructions-{i}",
                        f"Instructions on {m['target']}",
                        edges,
                        counts,
                        marks,
                        "instructions per transaction",
                    ),
                    f"Instructions per transaction on {m['target']}, counted in the guest.",
                    numbers=table(
                        "Transactions per bin",
                        ["from", "to", "transactions"],
                        [
                            [count(round(edges[k])), count(round(edges[k + 1])), count(n)]
                            for k, n in enumerate(counts)
                            if n
                        ],
                    ),
                )
            )
    if rows:
        out.insert(
            0,
            table(
                "Guest instructions per scored transaction",
                [
                    "target",
                    "transactions",
                    "count",
                    "median",
                    "99.9 %",
                    "maximum",
                    f"maximum at {hz / 1e6:g} MHz (assumed)",
                ],
                rows,
            ),
        )
        out.insert(
            1,
            text(
                "Instructions are counted exactly by the emulator. They are not cycles: flash wait "
                "states, pipeline and caches make a real core slower than one instruction per "
                f"clock. The time is instructions / {hz / 1e6:g} MHz, an assumption to compare "
                "with, no measurement."
            ),
        )
    return out


def _microseconds(instructions: Any, hz: float) -> str:
    return "-" if instructions is None else f"{number(1e6 * instructions / hz)} µs"


_TAGS = {
    "SCHM": "fields of an event",
    "PROG": "feature program",
    "MAPS": "features to int8",
    "PLAN": "network",
    "READ": "read-out",
    "CALI": "calibration",
    "DECI": "thresholds, reasons",
    "GOLD": "golden vectors",
    "META": "names",
    "LINE": "lineage",
    "header": "and signature",
}


def _sizes(facts: Facts) -> list[Block]:
    out: list[Block] = []
    rows = [
        [
            t["name"],
            *(count(t.get(k)) for k in ("flash_bytes", "ram_bytes", "stack_bytes")),
            *(count(t.get(k)) for k in ("flash_available_bytes", "ram_available_bytes")),
        ]
        for t in facts["targets"]
    ]
    if any(cell != "-" for row in rows for cell in row[1:]):
        out.append(
            table(
                "Firmware image, bytes (RAM without the stack; - was not measured)",
                ["target", "flash", "RAM", "stack", "flash available", "RAM available"],
                rows,
            )
        )
    pack = facts["pack"]
    if pack:
        sizes = sorted(pack["sections"].items(), key=lambda item: (-item[1], item[0]))
        out.append(
            figure(
                charts.horizontal_bars(
                    "pack",
                    "Sections of the pack",
                    [
                        (f"{tag} {_TAGS.get(tag, '')}".strip(), size, f"{size:,} bytes")
                        for tag, size in sizes
                    ],
                ),
                f"Sections of the pack, {pack['bytes']:,} bytes with padding.",
            )
        )
        network = pack.get("network") or {}
        state = [
            [name, f"{count(source[key])} {unit}"]
            for name, source, key, unit in (
                ("state image", pack, "state_bytes", "bytes"),
                ("memory at work, state included", pack, "memory_bytes", "bytes"),
                ("network plan, in the pack", network, "plan_bytes", "bytes"),
                ("network activations", network, "arena_bytes", "bytes"),
                ("network, per transaction", network, "macs", "multiply-accumulates"),
            )
            if source.get(key)
        ]
        out.append(table("Memory and work of one terminal", ["", ""], state))
    return out


def _extra(extra: Facts) -> list[Block]:
    out: list[Block] = []
    for block in extra.get("blocks") or ():
        if "rows" in block:
            out.append(
                table(
                    str(block.get("caption", "")),
                    block.get("columns") or [],
                    [[str(cell) for cell in row] for row in block["rows"]],
                )
            )
        elif "code" in block:
            out.append(code([str(line) for line in block["code"]]))
        else:
            out.append(text(str(block.get("text", ""))))
    return out


def _missing(facts: Facts) -> list[Block]:
    rows = [[row["what"], row["why"]] for row in facts["missing"]]
    return [table("What this report does not say", ["not measured", "why"], rows)] if rows else []


def _again(facts: Facts) -> list[Block]:
    if not facts["commands"]:
        return []
    out = [code(facts["commands"])]
    pack = (facts["pack"] or {}).get("pack_id")
    if pack:
        out.append(
            text(
                "From the .tflite on, every machine makes the same pack; training gives the same "
                f"bytes on the same machine and versions. The pack is then again {pack}."
            )
        )
    return out
