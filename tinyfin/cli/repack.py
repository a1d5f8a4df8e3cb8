# SPDX-License-Identifier: Apache-2.0
"""``tinyfin repack``: the same model with another decision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import emit, json_option, note
from tinyfin.cli.trust import key_option, public_key_option, security_counter_option

if TYPE_CHECKING:
    from tinyfin.quantization.repack import Repacked

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Go online from this probability on."
)
@click.option(
    "--verify-threshold",
    type=click.FloatRange(0, 1),
    help="Verify the person from this probability on.",
)
@click.option(
    "--decline-threshold", type=click.FloatRange(0, 1), help="Decline from this probability on."
)
@click.option(
    "--per-1000",
    type=click.FloatRange(0, 1000),
    help="Budget: false alerts per 1,000 genuine transactions.",
)
@click.option(
    "--per-terminal-week",
    type=click.FloatRange(0),
    help="Budget: false alerts per terminal and week.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    help="Keep the budgets on transactions to come with this probability, instead of on "
    "the calibration rows: 0.9.",
)
@click.option(
    "--false-alert-cost",
    type=click.FloatRange(0, min_open=True),
    help="Minor units that an alert costs, where a missed fraud costs its amount. With a budget: "
    "of the thresholds that keep it, the one that saves most.",
)
@click.option(
    "--rules",
    type=click.Path(exists=True, dir_okay=False),
    help="TOML with a [decision]: thresholds, budgets, costs, reasons, control share. It "
    "replaces the configuration's; the options above take precedence.",
)
@security_counter_option
@key_option
@public_key_option
@json_option
def command(
    run: Path,
    threshold: float | None,
    verify_threshold: float | None,
    decline_threshold: float | None,
    per_1000: float | None,
    per_terminal_week: float | None,
    confidence: float | None,
    false_alert_cost: float | None,
    rules: str | None,
    security_counter: int | None,
    key_path: Path | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Change the decision of a RUN's pack without training, by a threshold, a budget, a cost or
    --rules.

    Model, probabilities and state stay (same model_id); the pack is a new one (new pack_id, the old
    one its parent). Budgets are set on the calibration rows, as in training. The command prints the
    rate of false alerts that these rows can guarantee; --confidence sets the threshold so that they
    guarantee the budget.

    `tinyfin sign` changes the key, the security counter or the layouts of a pack.
    """
    asked = {
        "threshold": threshold,
        "verify_threshold": verify_threshold,
        "decline_threshold": decline_threshold,
        "per_1000": per_1000,
        "per_terminal_week": per_terminal_week,
        "false_alert_cost": false_alert_cost,
        "confidence": confidence,
    }
    if rules is None and all(value is None for value in asked.values()):
        raise click.UsageError("give a threshold, a budget, a cost or --rules")
    from tinyfin.pack.signing import load_key
    from tinyfin.pack.trust import trusted_keys
    from tinyfin.quantization.repack import load_rules, other_decision, repack
    from tinyfin.training.run_folder import open_run

    key = None if key_path is None else load_key(key_path)
    folder = open_run(run)
    section = load_rules(rules) if rules is not None else folder.config().decision
    result = repack(
        folder,
        other_decision(section, **asked),
        key=key,
        security_counter=security_counter,
        keys=trusted_keys(run, public_keys),
    )
    stands = result["decision"]
    if verify_threshold is not None and verify_threshold < (stands.verify or 0):
        note(
            f"--verify-threshold {verify_threshold:g} lies below that of going online, and to "
            f"verify is to go online: every alert from {_from(stands.verify)} on verifies"
        )
    emit(result, as_json, _text(result))


def _text(result: Repacked) -> str:
    from tinyfin.cli.train import decision_lines, savings_lines
    from tinyfin.pages.scorers import population_name

    lines = [
        f"pack {result['pack_id'][:16]} follows {result['parent'][:16]}, model "
        f"{result['model_id'][:16]} as before"
    ]
    for name, stands in (("before", result["before"]), ("now", result["decision"])):
        if stands is None:
            continue
        test = stands.test
        lines.append(
            f"{name}: go online from {_from(stands.go_online)}, verify from "
            f"{_from(stands.verify)}, decline from {_from(stands.decline)}; in the test "
            f"period {_n(test.false_alerts_per_1000)} false alerts per 1,000 genuine, recall "
            f"{_n(test.recall)}, precision {_n(test.precision)}, savings {_n(test.savings)}"
        )
    lines += decision_lines(result["decision"])
    lines += [
        f"{population_name(population)}: {line}"
        for population, found in result["savings"].items()
        for line in savings_lines(found, result["alert_minor"])
    ]
    return "\n".join([*lines, f"pack: {result['pack']}"])


def _from(threshold: float | None) -> str:
    return "never" if threshold is None else f"{threshold:.4g}"


def _n(value: float) -> str:
    return "-" if value != value else f"{value:.4g}"
