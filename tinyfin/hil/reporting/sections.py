# SPDX-License-Identifier: Apache-2.0
"""Sections of the report, from its facts: words, tables and pictures in reading order."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from tinyfin.hil.replay.facts import Instructions, ReplayFacts
from tinyfin.hil.reporting.detection_sections import alerts, detection
from tinyfin.hil.reporting.report import (
    ExtraSection,
    Histogram,
    InstructionFacts,
    NetworkFacts,
    PackFacts,
    ReplayedData,
    ReplayReport,
)
from tinyfin.hil.reporting.wire_section import wire_blocks
from tinyfin.pages import charts
from tinyfin.pages.blocks import Block, code, count, figure, fixed, number, percent, table, text
from tinyfin.pages.render import PageSection
from tinyfin.pages.scorers import population_name
from tinyfin.results.parity import Pair, Parity
from tinyfin.results.run import ModelFacts, SplitFacts

__all__ = ["first_differences", "headline", "sections"]


def headline(report: ReplayReport) -> list[tuple[str, str]]:
    """The figures on top: name and value."""
    out: list[tuple[str, str]] = []

    def add(name: str, values: Sequence[int | None]) -> None:
        known = [value for value in values if value is not None]
        if known:
            out.append((name, f"{sum(known):,}"))

    add("transactions replayed", [r.transactions for r in report.replays])
    add("mismatches", [r.mismatches for r in report.replays])
    add("lost", [r.lost for r in report.replays])
    scorers = report.metrics.populations.get("all", {}) if report.metrics else {}
    if scorer := scorers.get("model_int8"):
        out.append(("average precision, int8", fixed(scorer.average_precision)))
        out.append(("recall at 0.1 % false positives", percent(scorer.recall_at_0_1_percent)))
    for counted in report.instructions[:1]:
        out.append(("instructions per transaction, median", count(counted.median)))
        out.append(("instructions per transaction, most", count(counted.max)))
    if report.pack:
        out.append(("pack, bytes", count(report.pack.bytes_)))
    for target in report.targets[:1]:
        add("flash, bytes", [target.flash_bytes])
        add("RAM, bytes", [target.ram_bytes])
    return out


def first_differences(report: ReplayReport) -> list[str]:
    """One line per replay that differed: where, and what both sides gave."""
    return [
        f"{r.target}: row {d.row} (id {d.id}, terminal {d.terminal}), {d.field}: the workstation "
        f"gives {d.expected}, the target {d.got}"
        for r in report.replays
        if (d := r.first_mismatch) is not None
    ]


def sections(report: ReplayReport) -> list[PageSection]:
    """All sections that have something to say."""
    made = [
        PageSection("where", "What ran where", _where(report)),
        PageSection("parity", "Equal answers", _parity(report)),
        PageSection("detection", "Detection in the test period", detection(report)),
        PageSection("alerts", "Alerts in the replay", alerts(report)),
        PageSection("instructions", "Instructions per transaction", _instructions(report)),
        PageSection("sizes", "Sizes", _sizes(report)),
        PageSection("wire", "The wire", wire_blocks(report.replays)),
        *(
            PageSection(f"more-{i}", extra.title, _extra(extra))
            for i, extra in enumerate(report.more)
        ),
        PageSection("missing", "Not measured", _missing(report)),
        PageSection("again", "How to do it again", _again(report)),
    ]
    return [section for section in made if section.blocks]


def _where(report: ReplayReport) -> list[Block]:
    rows: list[list[str]] = []

    def row(name: str, values: Sequence[str | None]) -> None:
        if any(value is not None for value in values):
            rows.append([name, *("not reported" if v is None else v for v in values)])

    replays, targets = report.replays, report.targets
    row("board", [t.title for t in targets])
    row("core", [t.core for t in targets])
    row("kind", [t.kind for t in targets])
    row("firmware build", [r.build_id for r in replays])
    row("pack", [r.its_pack for r in replays])
    row("boot nonce", [r.boot_nonce for r in replays])
    out: list[Block] = []
    if rows:
        out.append(table("Targets", ["", *(t.name for t in targets)], rows))
    about = _about(report)
    if about:
        out.append(table("What was run", ["", ""], about))
    return out


def _about(report: ReplayReport) -> list[list[str]]:
    """What is known of run, pack and data."""
    known: list[tuple[str, object]] = []
    run, pack, data = report.run, report.pack, report.data
    if run:
        known.append(("run", run.name))
    if pack:
        known += [
            ("model", pack.model_id),
            ("pack of the run", pack.pack_id),
            ("pack format", pack.format_version),
            ("signed by", pack.signed_by),
            ("engine, at least", pack.minimum_engine),
        ]
    if run:
        known.append(("network", _network(run.model)))
    if pack and pack.features:
        known.append(("features", len(pack.features)))
    if run:
        known.append(("seed", run.model.seed))
    if data:
        known += [
            ("data of the replay", _span(data)),
            ("fingerprint of that data", data.fingerprint),
        ]
    if run:
        split = run.split
        known += [
            ("training data", ", ".join(file.name for file in run.data.files)),
            ("fingerprint of the training data", run.data.fingerprint),
            ("learned from", _learned(split)),
            ("test period", f"{split.until} to {split.test_until}"),
            ("configuration, SHA-256", run.config_sha256),
            ("versions", ", ".join(f"{k} {v}" for k, v in run.versions.items())),
        ]
    return [[name, str(value)] for name, value in known if value not in (None, "")]


def _network(model: ModelFacts) -> str:
    hidden = " + ".join(map(str, model.hidden))
    return f"{model.family}, hidden {hidden or 'none'}, {model.parameters or '?'} parameters"


def _span(data: ReplayedData) -> str:
    return (
        f"{data.rows:,} transactions of {data.terminals:,} terminals, {data.begin} to {data.to}, "
        f"{data.frauds:,} frauds"
    )


def _learned(split: SplitFacts) -> str:
    fit, held = split.fit, split.calibration
    return (
        f"{fit.rows:,} transactions with {fit.frauds:,} frauds, calibrated on "
        f"{held.rows:,} with {held.frauds:,}"
    )


def _parity(report: ReplayReport) -> list[Block]:
    out: list[Block] = []
    if report.replays:
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
                [_answers(r) for r in report.replays],
            )
        )
    first = [
        [r.target, *map(str, (d.row, d.id, d.terminal, d.field, d.expected, d.got, d.note))]
        for r in report.replays
        if (d := r.first_mismatch) is not None
    ]
    if first:
        out.append(
            table(
                "First differences (input rows count from 0)",
                ["target", "row", "id", "terminal", "field", "workstation", "target gives", "note"],
                first,
            )
        )
    if report.parity is not None:
        out += _network_parity(report.parity)
    return out


def _answers(r: ReplayFacts) -> list[str]:
    numbers = (r.transactions, r.verdicts, r.mismatches, r.lost, r.checkpoints)
    return [r.target, *map(count, numbers), ", ".join(r.compared or ()) or "nothing"]


def _network_parity(parity: Parity) -> list[Block]:
    runtimes = (
        ("tinyfin's plan, which the terminal runs", parity.plan),
        ("ai-edge-litert, default kernels", parity.litert_auto),
        ("ai-edge-litert, reference kernels", parity.litert_reference),
        ("the interpreter of --interpreter", parity.interpreter),
    )
    rows = [
        [name, count(found.differing_bytes), count(found.max_abs_difference)]
        for name, found in runtimes
        if found is not None
    ]
    oracle = parity.reference == "the oracle"
    reference = "the plain-Python oracle" if oracle else "TensorFlow Lite Micro"
    out: list[Block] = []
    if rows:
        out.append(
            table(
                f"Network outputs against {reference}: {count(parity.rows)} inputs, "
                f"{count(parity.bytes)} bytes",
                ["interpreter", "bytes differ", "by at most"],
                rows,
            )
        )
    rows = [
        [
            population_name(population),
            metric,
            fixed(pair.float_, 4),
            fixed(pair.int8, 4),
            _difference(pair),
        ]
        for population, found in parity.float_and_int8.items()
        for metric, pair in (
            ("average precision", found.average_precision),
            ("calibration error", found.calibration_error),
            ("recall at 0.1%", found.recall_at_0_1_percent),
        )
        if pair.model_fields_set
    ]
    if rows:
        out.append(
            table("What int8 costs", ["transactions", "metric", "float", "int8", "change"], rows)
        )
    if not oracle:
        out.append(
            text(
                "TensorFlow Lite Micro is the contract: the plan has to give its bytes. The other "
                "interpreters round differently; their distance is reported, not followed."
            )
        )
    return out


def _difference(pair: Pair) -> str:
    change = pair.int8 - pair.float_
    return f"{change:+.4f}" if isfinite(change) else "-"


def _instructions(report: ReplayReport) -> list[Block]:
    if not report.instructions:
        return []
    mhz = f"{report.example_hz / 1e6:g} MHz"
    rows = [row for m in report.instructions for row in _counted(m, report.example_hz)]
    return [
        table(
            "Guest instructions per scored transaction",
            [
                "target",
                "transactions",
                "count",
                "median",
                "99.9 %",
                "maximum",
                f"maximum at {mhz} (assumed)",
            ],
            rows,
        ),
        text(
            "Instructions are counted exactly by the emulator. They are not cycles: flash wait "
            "states, pipeline and caches make a real core slower than one instruction per "
            f"clock. The time is instructions / {mhz}, an assumption to compare with, no "
            "measurement."
        ),
        *(
            _histogram(i, m, m.histogram)
            for i, m in enumerate(report.instructions)
            if m.histogram is not None
        ),
    ]


def _counted(m: InstructionFacts, hz: int) -> list[list[str]]:
    parts: list[tuple[str, Instructions, int | None]] = [("all", m, m.count)]
    for name, part in (("accepted", m.accepted), ("with reasons", m.alerted)):
        if part is not None:
            parts.append((name, part, part.count))
    return [
        [
            m.target,
            name,
            *map(count, (n, part.median, part.p99_9, part.max)),
            f"{number(1e6 * part.max / hz)} µs",
        ]
        for name, part, n in parts
    ]


def _histogram(i: int, m: InstructionFacts, bins: Histogram) -> Block:
    edges = bins.edges
    marks = [("median", m.median), ("99.9 %", m.p99_9), ("maximum", m.max)]
    return figure(
        charts.histogram(
            f"instructions-{i}",
            f"Instructions on {m.target}",
            edges,
            bins.counts,
            marks,
            "instructions per transaction",
        ),
        f"Instructions per transaction on {m.target}, counted in the guest.",
        numbers=table(
            "Transactions per bin",
            ["from", "to", "transactions"],
            [
                [count(round(edges[k])), count(round(edges[k + 1])), count(n)]
                for k, n in enumerate(bins.counts)
                if n
            ],
        ),
    )


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


def _sizes(report: ReplayReport) -> list[Block]:
    out: list[Block] = []
    rows = [
        [
            t.name,
            *map(count, (t.flash_bytes, t.ram_bytes, t.stack_bytes)),
            *map(count, (t.flash_available_bytes, t.ram_available_bytes)),
        ]
        for t in report.targets
    ]
    if any(cell != "-" for row in rows for cell in row[1:]):
        out.append(
            table(
                "Firmware image, bytes (RAM without the stack; - was not measured)",
                ["target", "flash", "RAM", "stack", "flash available", "RAM available"],
                rows,
            )
        )
    if report.pack:
        out += _pack_sizes(report.pack)
    return out


def _pack_sizes(pack: PackFacts) -> list[Block]:
    sizes = sorted(pack.sections.items(), key=lambda item: (-item[1], item[0]))
    bars = [(f"{tag} {_TAGS.get(tag, '')}".strip(), size, f"{size:,} bytes") for tag, size in sizes]
    network = pack.network or NetworkFacts()
    state = [
        [name, f"{count(size)} {unit}"]
        for name, size, unit in (
            ("state image", pack.state_bytes, "bytes"),
            ("memory at work, state included", pack.memory_bytes, "bytes"),
            ("network plan, in the pack", network.plan_bytes, "bytes"),
            ("network activations", network.arena_bytes, "bytes"),
            ("network, per transaction", network.macs, "multiply-accumulates"),
        )
        if size
    ]
    return [
        figure(
            charts.horizontal_bars("pack", "Sections of the pack", bars),
            f"Sections of the pack, {pack.bytes_:,} bytes with padding.",
        ),
        table("Memory and work of one terminal", ["", ""], state),
    ]


def _extra(extra: ExtraSection) -> list[Block]:
    return [
        table(block.caption, block.columns, [list(map(str, row)) for row in block.rows])
        if block.rows is not None
        else text(block.text)
        if block.code is None
        else code(block.code)
        for block in extra.blocks
    ]


def _missing(report: ReplayReport) -> list[Block]:
    rows = [[row.what, row.why] for row in report.missing]
    return [table("What this report does not say", ["not measured", "why"], rows)] if rows else []


def _again(report: ReplayReport) -> list[Block]:
    if not report.commands:
        return []
    out: list[Block] = [code(report.commands)]
    if report.pack:
        out.append(
            text(
                "From the .tflite on, every machine makes the same pack; training gives the same "
                "bytes on the same machine and versions. The pack is then again "
                f"{report.pack.pack_id}."
            )
        )
    return out
