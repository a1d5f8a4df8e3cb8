# SPDX-License-Identifier: Apache-2.0
"""``tinyfin features``: the catalogue, and the features of transactions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tinyfin.cli.output import claim, emit, json_option, note, skip_bad_rows_option

__all__ = ["command", "matrix_text"]

MOMENTS = {
    "P": "before authorisation",
    "R": "before authorisation, from responses of earlier transactions",
    "after a notice": "before authorisation, from notices on earlier transactions",
}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME|DATA]...")
@click.option("--set", "which", help="Only a set: auto, default, stream, host or all.")
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    help="The features of this tinyfin.toml, its own ones included.",
)
@click.option("--target", help="Count the instructions of each feature on this emulated target.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="Compute the features of DATA and write them to this file (.parquet or .csv).",
)
@click.option("--with-label", is_flag=True, help="With --out: the label as the last column.")
@skip_bad_rows_option
@json_option
def command(
    names: tuple[str, ...],
    which: str | None,
    config: str | None,
    target: str | None,
    out: str | None,
    with_label: bool,
    skip_bad_rows: str | None,
    as_json: bool,
) -> None:
    """List the catalogue of features, or compute the features of DATA.

    Without --out: what each feature is, what it costs, when it is known, what it catches; NAMEs
    limit the list. Bytes are those of the terminal's state, of each card's slot, and of what is
    kept per pending transaction; features that share an operator share its bytes. With --target
    also the most instructions that each one, alone, added to scoring 200 simulated payments.

    With --out: the matrix that training sees, made by the terminal's own engine, one row per
    transaction of DATA (CSV, Parquet or Arrow) in input order. `tinyfin network-inputs` writes what
    the network of a run sees, `tinyfin host-fields` what a host would have sent.

    Card ids in DATA become tokens by a public key: whoever knows a card number can compute its
    token. token_key_file in [data] names a file with a secret key (docs/data.md, Cards).
    """
    if out is not None:
        if not names or which or target:
            raise click.UsageError("--out takes DATA files, and --config for their features")
        _write(names, config, out, with_label, skip_bad_rows, as_json)
        return
    if with_label or skip_bad_rows:
        raise click.UsageError("--with-label and --skip-bad-rows go with --out")
    files = [name for name in names if "." in name]
    if files:
        raise click.UsageError(f"to compute the features of {files[0]}, say where: --out FILE")
    _list(names, which, config, target, as_json)


def _write(
    paths: tuple[str, ...],
    config: str | None,
    out: str,
    with_label: bool,
    skip_bad_rows: str | None,
    as_json: bool,
) -> None:
    from tinyfin.config import load
    from tinyfin.training.export_features import write_matrix

    claim(out, skip_bad_rows, make_folder=True)
    result = write_matrix(
        paths, load(config), out, with_label=with_label, skip_bad_rows=skip_bad_rows, note=note
    )
    emit(result, as_json, matrix_text(result))


def matrix_text(result: Mapping[str, Any]) -> str:
    """What was written, for people."""
    return (
        f"{result['transactions']} transactions of {result['terminals']} terminals, "
        f"{len(result['features'])} features each: {result['out']}"
    )


def _list(
    names: tuple[str, ...], which: str | None, config: str | None, target: str | None, as_json: bool
) -> None:
    from tinyfin.config import load
    from tinyfin.data.rows import wanted_columns
    from tinyfin.features.auto import resolve_names
    from tinyfin.features.catalogue import FEATURES, SETS
    from tinyfin.features.compiler import MAX_FEATURES, Program, compile_program
    from tinyfin.features.describe import describe
    from tinyfin.features.selection import select
    from tinyfin.features.set_sizes import sizes_of
    from tinyfin.schema import PAYMENT_HOST_ODDS

    if sum(map(bool, (names, which, config))) > 1:
        raise click.UsageError("give NAMES, --set or --config, one of them")
    settings = load(config)
    schema = settings.schema if config else PAYMENT_HOST_ODDS  # it has what each feature reads
    if names:
        chosen = select(names)
    elif which:
        chosen = select(which)
    else:
        mapped = wanted_columns(settings).values()
        chosen = select(resolve_names(settings, set(mapped))) if config else FEATURES
    rows = describe(chosen, schema)
    if target is not None:
        from tinyfin.measure.feature_costs import feature_instructions

        counted = feature_instructions(chosen, schema, target)
        for row in rows:
            row["instructions"] = counted[row["name"]]
    program: Program | None = None
    if len(chosen) <= MAX_FEATURES:
        program = compile_program(list(chosen), schema, **settings.features.capacities)
    result: dict[str, Any] = {"features": rows, "sets": {k: list(v) for k, v in SETS.items()}}
    if program is not None:
        result["together"] = sizes_of(program)
    emit(result, as_json, _text(rows, result.get("together")))


def _text(rows: list[dict[str, Any]], together: dict[str, int] | None) -> str:
    from tinyfin.features.describe import reasons_text

    lines = []
    for row in rows:
        cost = f"{row['terminal_bytes']} B"
        if row["card_bytes"]:
            cost += f" + {row['card_bytes']} B per card"
        if "instructions" in row:
            cost += f", {row['instructions']} instructions"
        given = reasons_text(row)
        lines += [
            f"{row['name']}  ({cost}{given and ', ' + given})",
            f"    {row['definition']}",
            f"    known: {MOMENTS[row['moment']]}",
            f"    catches: {row['catches'] or 'unstated'}",
        ]
        if row["reason"]:
            lines.append(f"    {row['reason']}: {row['reason_text']}")
    if together is not None:
        lines.append(
            f"\n{together['features']} features together: program {together['program_bytes']} B, "
            f"state {together['state_bytes']} B (terminal {together['terminal_state_bytes']}, "
            f"labels {together['label_ring_bytes']}, pending {together['pending_table_bytes']}, "
            f"cards {together['card_table_bytes']})"
        )
    else:
        lines.append(f"\n{len(rows)} features; the sets are auto, default, stream, host and all")
    return "\n".join(lines)
