# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet``: the reports of many terminals, in a lake of one's own."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyfin.cli.fleet_backup import backup, restore
from tinyfin.cli.fleet_campaign import campaign, default_url, store_option
from tinyfin.cli.fleet_carriers import (
    FILE,
    keys_option,
    lake_argument,
    open_lake_argument,
    pull,
    push,
    serve,
)
from tinyfin.cli.fleet_drift import answer, drift, requests
from tinyfin.cli.fleet_experiment import experiment
from tinyfin.cli.fleet_hawkbit import hawkbit
from tinyfin.cli.fleet_metrics import fleet_page, metrics
from tinyfin.cli.fleet_simulate import simulate
from tinyfin.cli.output import DataFile, Group, aligned, claim, emit, json_option, note, out_option
from tinyfin.cli.trust import public_key_option
from tinyfin.optional_packages import require

if TYPE_CHECKING:
    from tinyfin.fleet.lake import Lake

__all__ = ["command"]


@click.group(cls=Group)
def command() -> None:
    """Reports of many terminals: take them, keep them in a lake of Parquet files, ask the lake."""


for verb in (
    serve,
    pull,
    push,
    backup,
    restore,
    campaign,
    experiment,
    hawkbit,
    drift,
    requests,
    answer,
    metrics,
    fleet_page,
    simulate,
):
    command.add_command(verb)


@command.command("init")
@lake_argument
@click.option("--report-keys", "keys_path", type=FILE, help="Where `ingest` finds report keys.")
@click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the key that makes aliases; it is made if need be. lake.key in the lake if not "
    "given.",
)
@click.option("--encrypt", is_flag=True, help="Encrypt the Parquet files, under that key.")
@click.option(
    "--buckets",
    type=click.IntRange(1, 4096),
    default=16,
    show_default=True,
    help="Files of a day; a bucket should hold at most 100,000 terminals.",
)
@json_option
def init(
    lake: Path,
    keys_path: Path | None,
    key_path: Path | None,
    encrypt: bool,
    buckets: int,
    as_json: bool,
) -> None:
    """Make a lake in a new folder, LAKE."""
    from tinyfin.fleet.lake import Lake

    made = Lake.create(
        lake, buckets=buckets, key=key_path, report_keys=keys_path, encrypted=encrypt
    )
    emit(made.settings.as_dict(), as_json, f"{lake}: a new lake; put reports into {made.inbox}")


@command.command("keys")
@click.argument("terminals", type=FILE)
@click.option("--fleet-key", "fleet_path", type=FILE, required=True, help="The fleet key.")
@out_option("The report keys.")
@json_option
def keys(terminals: Path, fleet_path: Path, out_path: Path, as_json: bool) -> None:
    """Write the report keys of TERMINALS, a file with an id in each line.

    A machine that has them can check reports; with the fleet key it could also make audit logs.
    """
    from tinyfin.field.keys import load_fleet_key
    from tinyfin.files import whole
    from tinyfin.fleet.secrets import report_keys_text

    claim(out_path)
    ids = terminals.read_text("utf-8", "replace").split()
    text = report_keys_text(load_fleet_key(fleet_path), ids)
    with whole(out_path, private=True) as unfinished:
        unfinished.write_text(text, encoding="ascii")
    count = text.count("\n") - 1
    facts = {"file": str(out_path), "terminals": count}
    emit(facts, as_json, f"{out_path}: report keys of {count} terminals")


@command.command("pack")
@open_lake_argument
@click.argument("pack", type=click.Path(path_type=Path, exists=True))
@public_key_option
@json_option
def pack(lake: Lake, pack: Path, public_keys: tuple[Path, ...], as_json: bool) -> None:
    """Let LAKE know PACK, a run folder or a .tfpack: the names of its histograms and, of a run,
    share and delay of the notices that training assumed."""
    from tinyfin.fleet.packs import add_pack

    facts = add_pack(lake, pack, public_keys)
    text = f"{lake}: knows pack {facts.pack_id}, {len(facts.histograms)} histograms"
    emit(facts.as_dict(), as_json, text)


@command.command("ingest")
@open_lake_argument
@click.option(
    "--from",
    "inbox",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder in place of the lake's inbox, on its file system.",
)
@keys_option
@json_option
def ingest(lake: Lake, inbox: Path | None, keys_path: Path | None, as_json: bool) -> None:
    """Merge the files of the inbox into LAKE: each a report, or a tar of reports.

    The files are in `processed` or `rejected` then. A report that comes twice, or late, or in
    another order changes nothing; killed, the command is to be called again.
    """
    from tinyfin.fleet.ingest import ingest

    done = ingest(lake, lake.report_keys(keys_path), inbox)
    for message in done.messages:
        note(f"refused: {message}")
    refused = sum(done.refused.values())
    facts = {
        "files": done.files,
        "reports": done.reports,
        "again": done.again,
        "refused": dict(done.refused),
    }
    emit(facts, as_json, f"{lake}: {done.reports} reports of {done.files} files, {refused} refused")


@command.command("labels")
@open_lake_argument
@click.argument("files", nargs=-1, required=True, type=DataFile(Path))
@click.option(
    "--config",
    "config_path",
    type=FILE,
    help="tinyfin.toml: FILES are transactions, and what its [labels] and label column say of them "
    "is merged, as training has it.",
)
@json_option
def labels(lake: Lake, files: tuple[Path, ...], config_path: Path | None, as_json: bool) -> None:
    """Merge FILES (CSV, Parquet or Arrow): what became known of transactions.

    Columns: terminal, its id; id of the transaction; time of it, and known, when it became known,
    in seconds since 2000-01-01; label, fraud or cleared; token of the card, and alerted, yes or no,
    where they are known. Other layouts, and rows without an id, need --config.
    """
    from tinyfin.config import load
    from tinyfin.fleet.labels import add_labels

    config = None if config_path is None else load(config_path)
    count, left_out = add_labels(lake, files, config, note)
    facts = {"labels": count, "left_out": left_out}
    emit(facts, as_json, f"{lake}: {count} labels, {left_out} of them erased or too old")


@command.command("query")
@open_lake_argument
@click.argument("sql")
@json_option
def query(lake: Lake, sql: str, as_json: bool) -> None:
    """Ask LAKE with SQL, by DuckDB; docs/formats/lake.md has its tables and views.

    The answer is for those who run the fleet; `publish` makes tables for others.
    """
    from tinyfin.fleet.views import connect, rows_of

    with connect(lake) as base:
        rows = rows_of(base, sql)
    _emit_rows(rows, as_json)


def _emit_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    cells = [["-" if value is None else str(value) for value in row.values()] for row in rows]
    emit({"rows": rows}, as_json, "\n".join(aligned([*map(list, rows[:1]), *cells])) or "no rows")


@command.command("publish")
@open_lake_argument
@click.option(
    "--by",
    type=click.Choice(["pack", "phase", "reason", "level"]),
    default="pack",
    show_default=True,
    help="What the columns are, next to the day.",
)
@json_option
def publish(lake: Lake, by: str, as_json: bool) -> None:
    """A table of LAKE for others: by day and another column, with totals.

    Cells of fewer than 5 terminals or 20 transactions are left out, and so are those from which
    they could be computed.
    """
    from tinyfin.fleet.publish import published
    from tinyfin.fleet.views import connect

    with connect(lake) as base:
        rows = published(base, by)
    _emit_rows(rows, as_json)


@command.command("export")
@open_lake_argument
@click.argument("out", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option("--csv", "as_csv", is_flag=True, help="CSV in place of Parquet.")
@click.option(
    "--postgres",
    "url",
    metavar="URL",
    envvar="TINYFIN_POSTGRES",
    help="Into the schema tinyfin of this database, in place of a folder.",
)
@click.option("--others", is_flag=True, help="Only what `publish` lets others see.")
@json_option
def export(
    lake: Lake, out: Path | None, as_csv: bool, url: str | None, others: bool, as_json: bool
) -> None:
    """LAKE as a star schema for BI tools, into the folder OUT or a PostgreSQL (docs/bi.md)."""
    from tinyfin.fleet.export import to_database, to_files

    if out is None:
        if url is None:
            raise click.UsageError("name a folder OUT, or a database with --postgres")
        rows = to_database(lake, url, others=others)
        said = ", ".join(f"{count:,} rows of {name}" for name, count in rows.items())
        emit({"rows": rows}, as_json, said)
        return
    names = to_files(lake, out, format="csv" if as_csv else "parquet", others=others)
    emit({"folder": str(out), "files": names}, as_json, f"{out}: {', '.join(names)}")


@command.command("status")
@open_lake_argument
@json_option
def status(lake: Lake, as_json: bool) -> None:
    """What LAKE holds, what was refused, and notices compared with those of training."""
    from tinyfin.fleet.status import status_of

    facts = status_of(lake)
    rows = [("fact", "value")]
    for name, value in facts.items():
        several = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(f"{name} {key}".rstrip(), _figure(one)) for key, one in several]
    emit(facts, as_json, "\n".join(aligned(rows)))


def _figure(value: object) -> str:
    """A number in short; of one that came next to that of training, both."""
    if isinstance(value, dict):
        return f"{_figure(value['came'])}; training: {_figure(value['training'])}"
    return "not known" if value is None else f"{value:.4g}" if type(value) is float else str(value)


@command.command("retain")
@open_lake_argument
@click.option(
    "--keep-days", type=click.IntRange(min=1), required=True, help="Days that stay, with today."
)
@click.option(
    "--as-of", type=click.DateTime(["%Y-%m-%d"]), help="In place of today (UTC), for a report."
)
@json_option
def retain(lake: Lake, keep_days: int, as_of: dt.datetime | None, as_json: bool) -> None:
    """Remove older days from LAKE, and refuse them from now on."""
    from tinyfin.fleet.lake import date_of, day_number
    from tinyfin.fleet.upkeep import retain

    today = day_number((as_of or dt.datetime.now(dt.UTC)).date())
    count = retain(lake, today - keep_days + 1)
    first = str(date_of(lake.settings.first_day))
    emit(
        {"first_day": first, "rows": count}, as_json, f"{lake}: from {first} on; {count} rows gone"
    )


@command.command("erase")
@open_lake_argument
@click.option("--terminal", help="Its id, 16 hexadecimal digits.")
@click.option("--terminal-alias", help="Its alias in the lake.")
@click.option("--token", help="Token of a card, 64 bits in hexadecimal.")
@click.option("--card-alias", help="Its alias in the lake.")
@store_option
@json_option
def erase(
    lake: Lake,
    terminal: str | None,
    terminal_alias: str | None,
    token: str | None,
    card_alias: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Remove all of a terminal, or of a card, from LAKE and its campaigns, and refuse it from now
    on.

    With the id of a terminal, files of the inbox and those kept aside are searched for it, too.
    """
    from tinyfin.field.keys import parse_terminal_id
    from tinyfin.fleet.upkeep import erase
    from tinyfin.hil.state_image import parse_token

    if sum(x is not None for x in (terminal, terminal_alias, token, card_alias)) != 1:
        raise click.UsageError("give one of --terminal, --terminal-alias, --token, --card-alias")
    alias = terminal_alias or ""
    if terminal is not None:
        alias = lake.key.terminal(parse_terminal_id(terminal))
    count = erase(
        lake,
        terminal=None if terminal is None else parse_terminal_id(terminal),
        alias=alias,
        card=lake.key.card(parse_token(token)) if token else card_alias or "",
    )
    facts, text = {"rows": count}, f"{lake}: {count} rows are gone"
    if alias and (url or (lake.path / "campaigns.sqlite").exists()):
        require(["sqlalchemy"], "for campaigns")
        from tinyfin.rollout.store import Store

        facts["campaigns"] = Store(url or default_url(lake)).erase(lake.key.tombstone(alias))
        text += f"; {facts['campaigns']} campaigns have forgotten it, and what their logs have seen"
    emit(facts, as_json, text)


@command.command("alias")
@open_lake_argument
@click.argument("terminal")
@json_option
def alias(lake: Lake, terminal: str, as_json: bool) -> None:
    """Print the alias in LAKE of TERMINAL, an id of 16 hexadecimal digits."""
    from tinyfin.field.keys import parse_terminal_id

    name = lake.key.terminal(parse_terminal_id(terminal))
    emit({"alias": name}, as_json, name)


@command.command("verify")
@open_lake_argument
@json_option
def verify(lake: Lake, as_json: bool) -> None:
    """Whether the files of LAKE are those that were written. Exit code 4 when they are not."""
    from tinyfin.errors import MismatchError

    with lake.shared():
        faults, count = lake.faults(), len(lake.manifest().parts)
    emit({"files": count, "faults": faults}, as_json, "\n".join([f"{count} files", *faults]))
    if faults:
        note(f"error: {lake}: {len(faults)} faults")
        raise SystemExit(MismatchError.exit_code)
