# SPDX-License-Identifier: Apache-2.0
"""``tinyfin evaluate``: evaluate a run's configuration week by week."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin import files
from tinyfin.cli.output import (
    DataFile,
    claim,
    emit,
    json_option,
    note,
    skip_bad_rows_option,
    track_option,
)
from tinyfin.errors import InputError, MismatchError

if TYPE_CHECKING:
    from tinyfin.results.evaluation import Evaluation, GateRow
    from tinyfin.training.run_folder import RunFolder

__all__ = ["command", "data_of", "end_at_gate", "gate_lines", "slices_of", "weeks_of"]


def weeks_of(text: str | None) -> int | list[int] | None:
    """``--weeks``: a number, or first days separated by commas."""
    from tinyfin.config import parse_moment

    if text is None:
        return None
    if re.fullmatch(r"[-+]?\d+", text):
        if int(text) < 1:
            raise click.UsageError(f"--weeks {text}: at least one week is tested")
        return int(text)
    try:
        return [parse_moment(day.strip()) for day in text.split(",")]
    except ValueError as error:
        raise InputError(f"--weeks {text!r}: {error}; or give how many") from error


def data_of(run: RunFolder, data: tuple[str, ...]) -> list[Path]:
    """The files given, or those the run was trained on, if they are still the same."""
    from tinyfin.data import memory_tables
    from tinyfin.training.run_folder import file_facts

    if data:
        return [Path(path) for path in data]
    known = run.facts().data.files
    if any(file.path == memory_tables.NAME for file in known):
        raise InputError(f"{run.path} was trained on a table in memory; name the DATA")
    paths = [Path(file.path) for file in known]
    for path, file in zip(paths, known, strict=True):
        if not path.is_file() or file_facts([path])[0].sha256 != file.sha256:
            raise InputError(
                f"{path}: is not there, or not the file that {run.path} was trained on; name the "
                "DATA"
            )
    return paths


@click.command()
@click.argument("run", type=click.Path(file_okay=False))
@click.argument("data", nargs=-1, type=DataFile())
@click.option(
    "--protocol",
    type=click.Choice(["prequential", "holdout", "halves"]),
    help="Instead of [evaluate] protocol.",
)
@click.option("--weeks", help="First days of the test weeks, separated by commas; or how many.")
@click.option("--seeds", type=click.IntRange(1, 100), help="Models per week.")
@click.option("--delays", help="Label delays of the curve, separated by commas: 2d,14d,30d.")
@click.option(
    "--families",
    help="Families to compare with the run's own, separated by commas; "
    "all: those of the same kind, with labels or without.",
)
@click.option(
    "--slices",
    help="Groups to compare, NAME=COLUMN separated by commas, instead of [evaluate] slices.",
)
@click.option(
    "--cold",
    is_flag=True,
    help="Start each part with an empty state, as a terminal without memory would.",
)
@click.option(
    "--gate",
    type=click.Path(exists=True, dir_okay=False),
    help="TOML of bounds; exit code 4 when one fails.",
)
@click.option("--card", type=click.Path(dir_okay=False), help="Also write the model card here.")
@click.option("--data-card", type=click.Path(dir_okay=False), help="Also write the data card here.")
@click.option(
    "--card-config",
    type=click.Path(exists=True, dir_okay=False),
    help="TOML file whose [card] both cards take instead of the run's.",
)
@skip_bad_rows_option
@track_option
@json_option
def command(
    run: str,
    data: tuple[str, ...],
    protocol: str | None,
    weeks: str | None,
    seeds: int | None,
    delays: str | None,
    families: str | None,
    slices: str | None,
    cold: bool,
    gate: str | None,
    card: str | None,
    data_card: str | None,
    card_config: str | None,
    skip_bad_rows: str | None,
    track_uri: str | None,
    as_json: bool,
) -> None:
    """Evaluate the configuration of a RUN: train again for each week, score with the twin.

    Without DATA it takes the files that the run was trained on. The run's weights are not used. For
    each week a model is trained, quantized and calibrated on labels known when the week begins, and
    so are its thresholds. Weeks are kept in RUN/evaluation and used again. Writes evaluation.json,
    evaluation.html, MODEL_CARD.md, DATA_CARD.md, and doubted_labels.csv: the 100 labels that are
    doubted most by models that have not seen them.
    """
    from tinyfin.config import load
    from tinyfin.evaluation.gates import (
        found_text,
        load_gate,
        require_fed,
        require_groups,
        require_known,
    )
    from tinyfin.evaluation.record import record
    from tinyfin.evaluation.workflow import evaluate
    from tinyfin.training.requirements import fed
    from tinyfin.training.run_folder import open_run

    folder = open_run(run)
    claim(run, card, data_card, skip_bad_rows)
    who = None if card_config is None else load(card_config).card
    bounds = load_gate(gate) if gate is not None else None
    paths = data_of(folder, data)
    groups = slices_of(slices)
    if gate is not None and bounds is not None:
        require_known(gate, bounds)
        known = folder.asked().evaluate.slices if groups is None else groups
        require_groups(gate, bounds, known)
        require_fed(gate, bounds, fed(folder.asked(), paths))
    found = evaluate(
        folder,
        paths,
        protocol=protocol,
        weeks=weeks_of(weeks),
        seeds=seeds,
        delays=_delays(delays),
        slices=groups,
        card=who,
        cold=cold,
        families=None if families is None else [name.strip() for name in families.split(",")],
        skip_bad_rows=skip_bad_rows,
        note=note,
    )
    facts = found.facts
    cards = record(found, bounds)
    for path, text in zip((card, data_card), cards, strict=True):
        if path is not None:
            files.write(path, text)
    page = folder.path / "evaluation.html"
    emit(facts.as_json(), as_json, f"{table_text(facts)}\nreport: {page}")
    if track_uri is not None:
        from tinyfin.tracking import log_run

        log_run(track_uri, folder, "evaluate", note)
    end_at_gate(gate, facts.gate, page, found_text)


def _delays(text: str | None) -> list[int] | None:
    from tinyfin.config import parse_duration

    if text is None:
        return None
    try:
        return [parse_duration(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--delays {text!r}: {error}") from error


def slices_of(text: str | None) -> dict[str, str] | None:
    """``--slices``: column by name."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    for name, _, column in pairs:
        if not name.strip() or not column.strip():
            raise click.UsageError(f"--slices {text!r}: give NAME=COLUMN, such as region=REGION")
    return {name.strip(): column.strip() for name, _, column in pairs}


def table_text(facts: Evaluation) -> str:
    """The means of all scorers, for people."""
    from tinyfin.cli.train import LEGEND
    from tinyfin.evaluation.data_remarks import money, warnings
    from tinyfin.evaluation.family_comparison import family_text
    from tinyfin.evaluation.gates import found_text
    from tinyfin.evaluation.group_sections import group_lines
    from tinyfin.pages.blocks import fixed, spread
    from tinyfin.pages.scorers import population_name
    from tinyfin.pages.threshold_table import threshold_cells
    from tinyfin.training.capacities import capacity_lines

    lines = [f"WARNING: {text}" for text in warnings(facts)]
    for state, means in (("", facts.means), ("COLD: ", facts.cold)):
        for population, scorers in means.items():
            folds = next(iter(scorers.values())).folds
            mean = f"mean of {folds} part{'s' if folds > 1 else ''}"
            lines.append(f"{state}{population_name(population)}, {mean}")
            lines.append(
                "  scorer                 AP     95% interval   savings  worst  ROC AUC  R@0.1%  "
                "R@1%   ECE"
            )
            for name, m in scorers.items():
                spans = None if state else facts.intervals.get(population, {}).get(name)
                between = "" if spans is None else spread(*spans.average_precision)
                lines.append(
                    f"  {name:<21}  {fixed(m.average_precision):<5}  {between:<14} "
                    f"{fixed(m.alerts.savings):<7}  {fixed(m.worst_fold):<5}  "
                    f"{fixed(m.roc_auc, 4):<6}   "
                    f"{fixed(m.recall_at_0_1_percent):<5}   {fixed(m.recall_at_1_percent):<5}  "
                    f"{fixed(m.calibration_error, 4)}"
                )
            if means is facts.judged:
                lines += [f"  {said}" for said in money(facts, population)]
    lines.append(LEGEND)
    cells = threshold_cells(facts.pooled.thresholds)
    names, *columns = zip(*cells, strict=True) if cells else [()]
    for head, *found in columns:
        shown = ", ".join(f"{name} {x}" for name, x in zip(names[1:], found, strict=True))
        lines.append(f"{head}: {shown}")
    for population, loss in facts.int8_loss.items():
        seeds = facts.seeds[population]
        lines.append(
            f"{population_name(population)}: AP lost by int8 against float: {fixed(loss, 4)}; "
            f"over seeds {spread(seeds.lowest, seeds.highest)}"
        )
    if facts.families:
        lines.append(family_text(facts))
    lines += group_lines(facts)
    if facts.capacities is not None:
        lines += capacity_lines(facts.capacities)
    return "\n".join([*lines, *gate_lines(facts.gate, found_text)])


def gate_lines(gate: Sequence[GateRow], figure: Callable[[float | None], str]) -> list[str]:
    """The bounds of a gate, for people; ``figure``: how figures are written."""
    return [
        f"gate {'holds' if row.ok else 'FAILS'}: {row.name} = {figure(row.found)}, {row.wanted}"
        for row in gate
    ]


def end_at_gate(
    path: str | None, gate: Sequence[GateRow], page: Path, figure: Callable[[float | None], str]
) -> None:
    """End the command with exit code 4 where a bound of the gate in ``path`` fails."""
    from tinyfin.evaluation.gates import failed_text

    if failed := failed_text(path, gate, page, figure):
        # the result is out already: an error object on stdout would follow it
        note(f"error: {failed}")
        raise SystemExit(MismatchError.exit_code)
