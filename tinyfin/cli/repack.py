# SPDX-License-Identifier: Apache-2.0
"""``tinyfin repack``: the same model with another decision, another signature, other layouts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import claim, emit, json_option, note
from tinyfin.cli.trust import public_key_option

if TYPE_CHECKING:
    from tinyfin.pack.signing import Key

__all__ = ["command"]


@click.command(name="repack", short_help="Change a pack's decision, key or weight layout.")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Go online from this probability on."
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
    help="Minor units that a false alert costs; a missed fraud costs its amount.",
)
@click.option(
    "--rules",
    type=click.Path(exists=True, dir_okay=False),
    help="TOML with a [decision]: thresholds, budgets, costs, reasons, control share. It "
    "replaces the configuration's; the options above go before it.",
)
@click.option(
    "--security-counter",
    type=click.IntRange(0, 2**32 - 1),
    help="Terminals that have run a pack with a higher one refuse this pack; it stays if "
    "not given. Alone it changes nothing else.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="Only the layout of this target; may be repeated. All layouts if not given.",
)
@click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The key to sign with; the development key if not given, for a pack that it signed.",
)
@click.option(
    "--out",
    "out_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --key: write the signed pack there, and leave RUN alone.",
)
@public_key_option
@boards_option
@json_option
def command(
    run: Path,
    threshold: float | None,
    decline_threshold: float | None,
    per_1000: float | None,
    per_terminal_week: float | None,
    confidence: float | None,
    false_alert_cost: float | None,
    rules: str | None,
    security_counter: int | None,
    targets: tuple[str, ...],
    key_path: Path | None,
    out_path: Path | None,
    public_keys: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Change the decision of a RUN's pack, its key or its security counter, without training; or
    write it in other layouts.

    With a threshold, a budget, a cost or --rules: model, probabilities and state stay (same
    model_id); the pack is a new one (new pack_id, the old one its parent). Budgets are set on the
    calibration rows, as in training. The command prints the rate of false alerts that these rows
    can guarantee; --confidence sets the threshold so that they guarantee the budget.

    --security-counter keeps old packs out: a terminal remembers the highest counter that it has
    seen and refuses a lower one. Raise it with the first pack that no older one may replace.

    --key with another key than the one that signed the pack of RUN, a run folder or a .tfpack:
    checks the pack, signs it again, and writes public.key and the layouts next to it, as
    `quantize --key` does. Sections stay byte for byte. This turns a development pack into one that
    a release opens. A pack signed by an older key of your own needs --public-key of that key,
    unless public.key is next to the pack.

    With none of them: writes the pack of RUN in other layouts, next to it. A layout is the same
    model with its weights in the order that a core's kernels read fastest; answers, state and model
    id stay. `build`, `flash` and `budget` take model.LAYOUT.tfpack when it is next to model.tfpack;
    for a pack signed by the development key they need no such file.
    """
    asked = (
        threshold,
        decline_threshold,
        per_1000,
        per_terminal_week,
        false_alert_cost,
        confidence,
    )
    decides = rules is not None or any(value is not None for value in asked)
    if out_path is not None and (decides or key_path is None):
        raise click.UsageError("--out goes with --key, without a decision")
    from tinyfin.pack.signing import load_key
    from tinyfin.pack.trust import trusted_keys

    key = None if key_path is None else load_key(key_path)
    if key is not None and not decides and (out_path is not None or _is_others(run, key)):
        from tinyfin.pack.resign import resign
        from tinyfin.targets.flash import run_pack

        claim(run)
        claim(out_path)
        signed = resign(
            run_pack(run),
            key,
            keys=trusted_keys(run, public_keys),
            out=out_path,
            security_counter=security_counter,
            layouts=_chosen(targets),
        )
        emit(signed, as_json, _signed(signed))
        return
    if not decides and security_counter is None:
        _layouts(run, targets, key, as_json)
        return
    if targets:
        raise click.UsageError("--target goes with layouts; repack the rest first, then those")
    from tinyfin.quantization.repack import load_rules, other_decision, recount, repack
    from tinyfin.training.run_folder import open_run

    if security_counter is not None and not decides:
        from tinyfin.targets.flash import run_pack

        claim(run)
        counted = recount(run_pack(run), security_counter, key=key)
        emit(counted, as_json, _counted(counted))
        return
    folder = open_run(run)
    section = other_decision(
        load_rules(rules) if rules is not None else folder.config().decision,
        threshold=threshold,
        decline_threshold=decline_threshold,
        per_1000=per_1000,
        per_terminal_week=per_terminal_week,
        false_alert_cost=false_alert_cost,
        confidence=confidence,
    )
    result = repack(
        folder,
        section,
        key=key,
        security_counter=security_counter,
        keys=trusted_keys(run, public_keys),
    )
    emit(result, as_json, _text(result))


def _is_others(run: Path, key: Key) -> bool:
    """Whether another key than ``key`` signed the pack."""
    from tinyfin.pack.container import parse_pack
    from tinyfin.targets.flash import run_pack

    return parse_pack(run_pack(run).read_bytes(), keys=[key.public]).key_id != key.key_id


def _chosen(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Layouts of the targets; all where none is given."""
    from tinyfin.formats import LAYOUTS
    from tinyfin.targets import catalogue

    return tuple(dict.fromkeys(catalogue.get(name).layout for name in targets)) or LAYOUTS


def _layouts(run: Path, targets: tuple[str, ...], key: Key | None, as_json: bool) -> None:
    from tinyfin.pack.layouts import write_layouts
    from tinyfin.pack.signing import DEVELOPMENT_KEY
    from tinyfin.targets.flash import run_pack

    layouts = _chosen(targets)
    claim(run)
    files = write_layouts(run_pack(run), key=key or DEVELOPMENT_KEY, layouts=layouts)
    if not files:
        note("there is nothing to write: no network, or it has this layout already")
    emit({"files": [str(path) for path in files]}, as_json, "\n".join(map(str, files)))


def _signed(result: dict[str, Any]) -> str:
    was, now = result["security_counter_before"], result["security_counter"]
    before = result["key_before"]
    if now < was:
        note(f"terminals that have run a pack with security counter {was} refuse this one")
    if result["public_key_replaced"]:
        note(f"{result['public_key']} held another key; packs of that one need --public-key now")
    return "\n".join(
        [
            f"pack {result['pack_id'][:16]}, signed by key {result['key']}, follows "
            f"{result['pack_id_before'][:16]}, signed by "
            f"{'the development key' if before == 'development' else f'key {before}'}: model "
            f"{result['model_id'][:16]} as before, security counter {now}, {was} before",
            f"pack: {result['pack']}",
            *result["layouts"],
        ]
    )


def _counted(result: dict[str, Any]) -> str:
    was, now = result["security_counter_before"], result["security_counter"]
    if now < was:
        note(f"terminals that have run a pack with security counter {was} refuse this one")
    return (
        f"pack {result['pack_id'][:16]} follows {result['parent'][:16]}: security counter {now}, "
        f"{was} before\npack: {result['pack']}"
    )


def _text(result: dict[str, Any]) -> str:
    from tinyfin.cli.train import decision_lines

    lines = [
        f"pack {result['pack_id'][:16]} follows {result['parent'][:16]}, model "
        f"{result['model_id'][:16]} as before"
    ]
    for name, stands in (("before", result["before"]), ("now", result["decision"])):
        if not stands:
            continue
        test = stands["test"]
        lines.append(
            f"{name}: go online from {_from(stands['go_online'])}, decline from "
            f"{_from(stands['decline'])}; in the test period {_n(test['false_alerts_per_1000'])} "
            f"false alerts per 1,000 genuine, recall {_n(test['recall'])}, precision "
            f"{_n(test['precision'])}"
        )
    lines += decision_lines(result["decision"])
    return "\n".join([*lines, f"pack: {result['pack']}"])


def _from(threshold: float | None) -> str:
    return "never" if threshold is None else f"{threshold:.4g}"


def _n(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4g}"
