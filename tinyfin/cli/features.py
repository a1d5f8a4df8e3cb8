# SPDX-License-Identifier: Apache-2.0
"""``tinyfin features``: the catalogue, and the features of transactions."""

from __future__ import annotations

from typing import Any

import click

from tinyfin.cli.output import claim, emit, json_option, note

__all__ = ["command"]

MOMENTS = {
    "P": "before authorisation",
    "R": "before authorisation, from responses of earlier transactions",
    "after a notice": "before authorisation, from notices on earlier transactions",
}


@click.command("features")
@click.argument("names", nargs=-1, metavar="[NAME|DATA]...")
@click.option("--set", "which", help="Only a set: auto, default, stream or all.")
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
@click.option(
    "--as-host",
    type=click.Choice(["card"]),
    help="With --out: instead of features, DATA with what a host would have sent.",
)
@click.option(
    "--inputs",
    "run",
    type=click.Path(file_okay=False),
    metavar="RUN",
    help="With --out: the network inputs of a RUN, int8 codes of its input maps.",
)
@click.option("--with-label", is_flag=True, help="With --out: the label as the last column.")
@click.option(
    "--with-part",
    is_flag=True,
    help="With --inputs: what the RUN used each row for, fit, validation, calibration or test.",
)
@click.option(
    "--markdown",
    type=click.Choice(["catalogue", "reasons", "functions"]),
    help="A table of docs/features.md: the list, or what your own features may call.",
)
@click.option(
    "--skip-bad-rows",
    type=click.Path(dir_okay=False),
    help="With --out: write bad rows to this CSV file and go on without them.",
)
@json_option
def command(
    names: tuple[str, ...],
    which: str | None,
    config: str | None,
    target: str | None,
    out: str | None,
    as_host: str | None,
    run: str | None,
    with_label: bool,
    with_part: bool,
    markdown: str | None,
    skip_bad_rows: str | None,
    as_json: bool,
) -> None:
    """List the catalogue of features, or compute the features of DATA.

    Without --out: what each feature is, what it costs, when it is known, what it catches; NAMEs
    limit the list. Bytes are those of the terminal's state, of each card's slot, and of what is
    kept per pending transaction; features that share an operator share its bytes. With --target
    also the most instructions that each one, alone, added to scoring 200 simulated payments.

    With --out: the matrix that training sees, made by the terminal's own engine, one row per
    transaction of DATA (CSV, Parquet or Arrow) in input order. With --as-host card as well: DATA
    with the host's fields appended, derived from each card's past at all terminals. With --inputs:
    the features of a RUN as its network sees them, to train a network of your own on; --with-part
    adds what the RUN uses each row for.

    Card ids in DATA become tokens by a public key: whoever knows a card number can compute its
    token. token_key_file in [data] names a file with a secret key (docs/data.md, Cards).
    """
    if out is not None:
        if not names or which or markdown or target:
            raise click.UsageError("--out takes DATA files, and --config for their features")
        if with_part and not run:
            raise click.UsageError("--with-part goes with --inputs RUN")
        if as_host:
            if with_label or skip_bad_rows or run:
                raise click.UsageError("--as-host writes DATA as it is; leave the others out")
            _write_as_host(names, config, out, as_json)
            return
        if run and config:
            raise click.UsageError("--inputs takes the RUN's own configuration; leave --config out")
        _write(names, config, run, out, with_label, with_part, skip_bad_rows, as_json)
        return
    if with_label or with_part or skip_bad_rows or as_host or run:
        raise click.UsageError(
            "--as-host, --inputs, --with-label, --with-part and --skip-bad-rows go with --out"
        )
    files = [name for name in names if "." in name]
    if files:
        raise click.UsageError(f"to compute the features of {files[0]}, say where: --out FILE")
    _list(names, which, config, target, as_json, markdown)


def _write(
    paths: tuple[str, ...],
    config: str | None,
    run: str | None,
    out: str,
    with_label: bool,
    with_part: bool,
    skip_bad_rows: str | None,
    as_json: bool,
) -> None:
    from tinyfin.config import load
    from tinyfin.training.export_features import write_matrix
    from tinyfin.training.network_inputs import Partition
    from tinyfin.training.run_folder import open_run

    found = None if run is None else open_run(run)
    claim(out, skip_bad_rows, make_folder=True)
    result = write_matrix(
        paths,
        load(config) if found is None else found.config(),
        out,
        maps=None if found is None else found.maps(),
        with_label=with_label,
        parting=Partition.of(found) if found is not None and with_part else None,
        skip_bad_rows=skip_bad_rows,
        note=note,
    )
    emit(
        result,
        as_json,
        f"{result['transactions']} transactions of {result['terminals']} terminals, "
        f"{len(result['features'])} features each: {out}",
    )


def _write_as_host(paths: tuple[str, ...], config: str | None, out: str, as_json: bool) -> None:
    from tinyfin.config import load
    from tinyfin.training.host_fields import write_as_host

    claim(out, make_folder=True)
    result = write_as_host(paths, load(config), out, note=note)
    emit(
        result,
        as_json,
        f"{result['transactions']} transactions, {result['with_card']} with a card: {out}\n"
        f"columns added: {', '.join(result['columns'])}",
    )


def _list(
    names: tuple[str, ...],
    which: str | None,
    config: str | None,
    target: str | None,
    as_json: bool,
    markdown: str | None,
) -> None:
    from tinyfin.config import load
    from tinyfin.data.rows import wanted_columns
    from tinyfin.features.auto import settled
    from tinyfin.features.catalogue import FEATURES, SETS
    from tinyfin.features.compiler import MAX_FEATURES, Program, compile_program
    from tinyfin.features.selection import select
    from tinyfin.features.set_sizes import sizes_of

    if sum(map(bool, (names, which, config))) > 1:
        raise click.UsageError("give NAMES, --set or --config, one of them")
    settings = load(config)
    if names:
        chosen = select(names)
    elif which:
        chosen = select(which)
    else:
        mapped = wanted_columns(settings).values()
        chosen = select(settled(settings, set(mapped))) if config else FEATURES
    rows = [_describe(feature, compile_program([feature], settings.schema)) for feature in chosen]
    if target is not None:
        from tinyfin.measure.feature_costs import feature_instructions

        counted = feature_instructions(chosen, settings.schema, target)
        for row in rows:
            row["instructions"] = counted[row["name"]]
    program: Program | None = None
    if len(chosen) <= MAX_FEATURES:
        program = compile_program(list(chosen), settings.schema, **settings.features.capacities)
    result: dict[str, Any] = {"features": rows, "sets": {k: list(v) for k, v in SETS.items()}}
    if program is not None:
        result["together"] = sizes_of(program)
    if markdown is None:
        text = _text(rows, result.get("together"))
    else:
        tables = {"catalogue": _markdown, "reasons": _reasons, "functions": _functions}
        text = tables[markdown](rows)
    emit(result, as_json, text)


def _describe(feature: Any, program: Any) -> dict[str, Any]:
    from tinyfin.features.catalogue import REASONS, reason_code

    return {
        "name": feature.name,
        "id": feature.id,
        "definition": feature.definition,
        "moment": _moment(feature, program),
        "catches": feature.catches,
        "reason": reason_code(feature.reason) if feature.reason else None,
        "reason_text": REASONS.get(feature.reason),
        "reason_above": reason_code(feature.reasons[0]) if feature.reasons[0] else None,
        "reason_below": reason_code(feature.reasons[1]) if feature.reasons[1] else None,
        "fields": list(feature.fields),
        "operators": list(program.operators),
        "terminal_bytes": program.terminal_state_bytes + program.label_ring_bytes,
        "card_bytes": program.card_slot_bytes,
        "pending_bytes": program.pending_entry_bytes - 24,
    }


def _moment(feature: Any, program: Any) -> str:
    """P: from the event and what came before; R: learns responses; or: learns notices."""
    if "KNOWN" in program.operators:
        return "after a notice"
    return "R" if feature.moment == "after" else "P"


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| feature | id | definition | known | B | B per card | reason | catches |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            f"`{row['name']}`",
            row["id"],
            row["definition"],
            row["moment"],
            row["terminal_bytes"],
            row["card_bytes"] or "",
            _sides(row),
            row["catches"],
        )
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _sides(row: dict[str, Any]) -> str:
    """The reasons of a feature, and on which side of its usual value each is given."""
    above, below = row["reason_above"], row["reason_below"]
    if above == below:
        return above or ""
    given = ((above, "above"), (below, "below"))
    return ", ".join(f"{code} {side}" for code, side in given if code)


def _reasons(rows: list[dict[str, Any]]) -> str:
    from tinyfin.features.catalogue import REASONS, reason_code

    lines = ["| reason | text | given for |", "|---|---|---|"]
    for number, text in REASONS.items():
        code = reason_code(number)
        given = []
        for row in rows:
            sides = [side for side in ("above", "below") if row[f"reason_{side}"] == code]
            if sides:
                given.append(f"`{row['name']}`" + (f" {sides[0]}" if len(sides) == 1 else ""))
        lines.append(f"| {code} | {text} | {', '.join(given)} |")
    return "\n".join(lines)


def _functions(_: object) -> str:
    import inspect

    from tinyfin.features.own_features import FUNCTIONS

    lines = ["| function | what it is |", "|---|---|"]
    for name, function in FUNCTIONS.items():
        parts = []
        for parameter in inspect.signature(function).parameters.values():
            default = parameter.default
            if default is parameter.empty:
                parts.append(parameter.name)
            elif parameter.name == "when":
                parts.append("when=all" if len(default) == 5 else f"when={list(default)}")
            else:
                parts.append(f"{parameter.name}={default}")
        words = " ".join((function.__doc__ or "").split("\n\n")[0].replace("``", "`").split())
        lines.append(f"| `{name}({', '.join(parts)})` | {words} |")
    return "\n".join(lines)


def _text(rows: list[dict[str, Any]], together: dict[str, int] | None) -> str:
    lines = []
    for row in rows:
        cost = f"{row['terminal_bytes']} B"
        if row["card_bytes"]:
            cost += f" + {row['card_bytes']} B per card"
        if "instructions" in row:
            cost += f", {row['instructions']} instructions"
        reason = f", {_sides(row)}" if _sides(row) else ""
        lines += [
            f"{row['name']}  ({cost}{reason})",
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
        lines.append(f"\n{len(rows)} features; the sets are auto, default, stream and all")
    return "\n".join(lines)
