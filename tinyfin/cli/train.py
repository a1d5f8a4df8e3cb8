# SPDX-License-Identifier: Apache-2.0
"""``tinyfin train``: a model from transactions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import (
    DataFile,
    claim,
    emit,
    json_option,
    note,
    skip_bad_rows_option,
    track_option,
)
from tinyfin.errors import ConfigError

if TYPE_CHECKING:
    from tinyfin.results.metrics import DecisionFacts, Metrics, Savings

__all__ = ["LEGEND", "command", "decision_lines", "savings_lines", "table_text"]

LEGEND = (
    "  AP: average precision. Savings: share of what the frauds would cost that the model's alerts "
    "save, or as many of\n  another scorer. Recall: share of the frauds alerted when 0.1% or 1% of "
    "the genuine transactions are.\n  ECE: calibration error. rule_a, rule_b: rules of two lines, "
    "without training."
)
"""What the columns and rows of the tables of scorers mean."""


def table_text(metrics: Metrics) -> str:
    """Models and rules of a ``metrics.json`` as a table for people."""
    from tinyfin.pages.blocks import fixed
    from tinyfin.pages.scorers import population_name

    lines = []
    for population, scorers in metrics.populations.items():
        first = next(iter(scorers.values()), None)
        if first is None:
            lines.append(f"{population_name(population)}: no test rows")
            continue
        if first.rows == first.frauds:
            lines.append(
                f"{population_name(population)}: all {first.rows} test rows are frauds; without "
                "a genuine one nothing can be scored"
            )
            continue
        if not first.frauds:
            lines.append(
                f"{population_name(population)}: none of the {first.rows} test rows is a known "
                "fraud; without one nothing can be scored"
            )
            continue
        lines.append(
            f"{population_name(population)}: {first.rows} test rows, {first.frauds} frauds"
        )
        lines.append(
            "  scorer                 AP     savings  recall at 0.1%  1%     ECE     Brier skill"
        )
        saved = metrics.savings.get(population, {})
        for name, m in sorted(scorers.items(), key=lambda row: not row[0].startswith("model")):
            extra = f"{fixed(m.calibration_error, 4)}  {fixed(m.brier_skill)}"
            lines.append(
                f"  {name:<21}  {fixed(m.average_precision):<5}  "
                f"{fixed(saved[name].savings) if name in saved else '-':<7}  "
                f"{fixed(m.recall_at_0_1_percent):<5}           {fixed(m.recall_at_1_percent):<5}  "
                + (extra if m.has_probabilities else "")
            )
        if saved and metrics.alert_minor is not None:
            lines += [f"  {line}" for line in savings_lines(saved, metrics.alert_minor)]
    if any(line.startswith("  scorer") for line in lines):
        lines.append(LEGEND)
    if metrics.decision is not None:
        lines += decision_lines(metrics.decision)
    return "\n".join(lines)


def savings_lines(found: Mapping[str, Savings], alert_minor: float) -> list[str]:
    """What the alerts of the model save, and what saves more."""
    from tinyfin.pages.savings import saved_more, savings_line

    model = "model_int8" if "model_int8" in found else "model_float"
    more = saved_more(found, model)
    return [savings_line(found, model, alert_minor), *([more] if more else [])]


def decision_lines(decision: DecisionFacts) -> list[str]:
    """What the thresholds in force do in the test period, and what the budgets' rows promise."""
    from tinyfin.pages.threshold_table import shares
    from tinyfin.training.alert_guarantee import promise_lines

    lines = []
    for action, populations in decision.thresholds.items():
        m = populations["all"]
        told = ", ".join(f"{name} {share}" for name, share in shares(m).items())
        lines.append(
            f"{action.replace('_', ' ')} from {decision.threshold(action):.3g}, test period: "
            f"{m.true_positives} frauds alerted and {m.false_negatives} missed, "
            f"{m.false_positives} of {m.false_positives + m.true_negatives} genuine "
            f"alerted; {told} (95 % intervals: bootstrap over {decision.drawn})"
        )
    return [*lines, *promise_lines(decision.promise)]


@click.command()
@click.argument("data", nargs=-1, required=True, type=DataFile())
@click.option("--config", "config_path", type=click.Path(dir_okay=False), help="tinyfin.toml")
@click.option("--until", help="The model goes live here: labels known later are not used.")
@click.option("--name", help="Name of the run; the configuration's folder or file if not given.")
@click.option("--out", default="runs", show_default=True, help="Folder of the runs.")
@click.option("--seed", type=click.IntRange(min=0), help="Replaces [model] seed.")
@click.option(
    "--search",
    "searching",
    is_flag=True,
    help="Try the shapes of [search], and train the best one that fits.",
)
@click.option("--trials", type=click.IntRange(1, 1000), help="Replaces [search] trials.")
@skip_bad_rows_option
@track_option
@boards_option
@json_option
def command(
    data: tuple[str, ...],
    config_path: str | None,
    until: str | None,
    name: str | None,
    out: str,
    seed: int | None,
    searching: bool,
    trials: int | None,
    skip_bad_rows: str | None,
    track_uri: str | None,
    as_json: bool,
) -> None:
    """Train a model on transactions (CSV, Parquet or Arrow), split by time.

    Rows before --until whose label was known by then train and calibrate the model; later rows are
    the test. Makes the folder OUT/NAME. Prints the rate of false alerts that the calibration rows
    can guarantee; [decision] confidence sets thresholds that keep the budget.

    Card ids in DATA become tokens by a public key: whoever knows a card number can compute its
    token. token_key_file in [data] names a file with a secret key (docs/data.md, Cards).

    --search builds a pack of every shape for the target of [search], and trains those whose flash,
    RAM and instructions are within its limits; all trials stay in OUT/NAME/trials.json.
    """
    from tinyfin.config import load, parse_moment
    from tinyfin.results.metrics import Metrics
    from tinyfin.training.alert_guarantee import promise_lines
    from tinyfin.training.capacities import capacity_lines
    from tinyfin.training.workflow import left_out, train

    config = load(config_path)
    try:
        until_s = None if until is None else parse_moment(until)
    except ValueError as error:
        raise ConfigError(f"--until {until!r}: {error}") from error
    if trials is not None and not searching:
        raise click.UsageError("--trials goes with --search")
    claim(skip_bad_rows)
    name = name or _default_name(config_path, data[0])
    if searching:
        from tinyfin.search import search

        if trials is not None:
            wider = config.search.model_copy(update={"trials": trials})
            config = replace(config, search=wider)
        learn = partial(search)
    else:
        learn = partial(train)
    run = learn(
        data,
        config,
        name=name,
        out=out,
        until_s=until_s,
        seed=seed,
        skip_bad_rows=skip_bad_rows,
        note=note,
    )
    metrics, facts = run.read(Metrics), run.facts()
    emit(
        {
            "run": str(run.path),
            "split": facts.split,
            "model": facts.model,
            "capacities": facts.capacities,
            **metrics.as_json(),
        },
        as_json,
        "\n".join(
            [
                table_text(metrics),
                *promise_lines(metrics.calibration_promise),
                left_out(facts.split),
                *([] if facts.capacities is None else capacity_lines(facts.capacities)),
                f"run: {run.path}",
            ]
        ),
    )

    if track_uri is not None:
        from tinyfin.tracking import log_run

        log_run(track_uri, run, "search" if searching else "train", note)


def _default_name(config_path: str | None, data: str) -> str:
    if config_path is not None:
        path = Path(config_path)
        stem = path.parent.resolve().name if path.name == "tinyfin.toml" else path.stem
    else:
        stem = Path(data).stem
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in stem) or "run"
