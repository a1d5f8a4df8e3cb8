# SPDX-License-Identifier: Apache-2.0
"""``tinyfin fleet metrics`` and ``page``: the fleet for Prometheus, and for people."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.fleet_campaign import default_url, store_option
from tinyfin.cli.fleet_carriers import FILE, address, open_lake_argument, repeated
from tinyfin.cli.fleet_drift import inventory_option
from tinyfin.cli.output import as_one, claim, emit, json_option
from tinyfin.cli.trust import public_key_option
from tinyfin.optional_packages import require

if TYPE_CHECKING:
    from tinyfin.fleet.lake import Lake
    from tinyfin.http_server import Listening
    from tinyfin.prometheus.figures import Sources

__all__ = ["fleet_page", "metrics"]

_DEADLINE_S = 10.0
_MOST = 100
"""Connections."""


def _sources(
    lake: Lake,
    packs: tuple[Path, ...],
    inventory: Path | None,
    campaigns: bool,
    url: str | None,
    folder: Path | None,
    as_of: dt.datetime | None,
    public_keys: tuple[Path, ...],
) -> Sources:
    require(["duckdb", "scipy", "sqlalchemy"], "for the figures of a fleet")
    from tinyfin.fleet.lake import day_number
    from tinyfin.fleet.monitors import read_strata
    from tinyfin.prometheus.figures import Sources
    from tinyfin.registry.contents import opened_in_service
    from tinyfin.registry.registry import Registry
    from tinyfin.rollout.store import Store

    store = url or (default_url(lake) if campaigns else None)
    return Sources(
        lake,
        [opened_in_service(pack, public_keys) for pack in packs],
        None if inventory is None else read_strata(lake, inventory),
        None if store is None else Store(store),
        None if folder is None else Registry(folder),
        None if as_of is None else day_number(as_of.date()),
    )


_sourced = as_one(
    "sources",
    _sources,
    open_lake_argument,
    click.option(
        "--pack",
        "packs",
        type=click.Path(path_type=Path, exists=True),
        multiple=True,
        help="A run folder or .tfpack in service: also drift, precision and recall.",
    ),
    inventory_option,
    click.option(
        "--campaigns", is_flag=True, help="Also campaigns, of campaigns.sqlite in the lake."
    ),
    store_option,
    click.option(
        "--registry",
        "folder",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="Also packs and requests of this registry.",
    ),
    click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="The end of this day."),
    public_key_option,
    json_option,
)


@click.command("metrics")
@_sourced
@click.option(
    "--out",
    "out_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that ends in .prom, for the textfile collector of the node exporter.",
)
@click.option("--http", metavar="HOST:PORT", help="Serve them until ended; port 0: any.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Seconds between looks at the lake, with --http.",
)
@click.option("--certificate", type=FILE, help="PEM of the server; without, 127.0.0.1 alone.")
@click.option("--certificate-key", type=FILE, help="PEM: the private key of --certificate.")
@click.option("--client-ca", "authorities", type=FILE, help="PEM: authorities of Prometheus' own.")
@click.option(
    "--setup",
    "setup_folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write rules, routes, a scrape configuration and a board of Grafana there, and end.",
)
def metrics(
    sources: Sources,
    out_path: Path | None,
    http: str | None,
    every_s: float,
    certificate: Path | None,
    certificate_key: Path | None,
    authorities: Path | None,
    setup_folder: Path | None,
    as_json: bool,
) -> None:
    """Figures of LAKE in Prometheus' text format (docs/metrics.md); on the terminal without --out
    and --http."""
    from tinyfin import files

    if setup_folder is not None:
        _set_up(setup_folder, as_json)
        return
    if out_path is not None and out_path.suffix != ".prom":
        raise click.UsageError(f"--out {out_path}: the collector reads names that end in .prom")
    require(["prometheus_client", "starlette", "uvicorn"], "for metrics")
    from tinyfin.prometheus.figures import exposed

    if http is not None:
        from tinyfin.http_server import Listening

        where = Listening(*address(http), certificate, certificate_key, authorities)
        _serve(sources, where, every_s, as_json)
        return
    text = exposed(sources)
    if out_path is None:
        click.echo(text, nl=False)
        return
    files.write(out_path, text)
    lines = [line for line in text.splitlines() if not line.startswith(b"#")]
    facts = {"file": str(out_path), "series": len(lines)}
    emit(facts, as_json, f"{out_path}: {len(lines)} series")


@click.command("page")
@_sourced
@click.option(
    "--out",
    "out_path",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The page, one HTML file that needs no other.",
)
def fleet_page(sources: Sources, out_path: Path, as_json: bool) -> None:
    """LAKE, its campaigns and a registry on one page, up to a day: the newest with reports, or
    --as-of. The same sources make the same bytes."""
    from dataclasses import replace

    from tinyfin import files
    from tinyfin.fleet.lake import date_of, newest_day
    from tinyfin.fleet_page import render

    claim(out_path)
    day = newest_day(sources.lake) if sources.day is None else sources.day
    files.write(out_path, render(replace(sources, day=day)))
    facts = {"file": str(out_path), "as_of": str(date_of(day))}
    emit(facts, as_json, f"{out_path}: the fleet up to {date_of(day)}")


def _set_up(folder: Path, as_json: bool) -> None:
    from tinyfin import files
    from tinyfin.prometheus.board import board, setup_files

    folder.mkdir(parents=True, exist_ok=True)
    texts = {**setup_files(), "grafana.json": json.dumps(board(), indent=2) + "\n"}
    for name, text in texts.items():
        files.write(folder / name, text)
    emit({"files": sorted(texts)}, as_json, f"{folder}: {', '.join(sorted(texts))}")


def _serve(sources: Sources, where: Listening, every_s: float, as_json: bool) -> None:
    """Answer with the newest figures; a look that fails is tried again, and what was found before
    grows old, which TinyfinFiguresOld says."""
    from prometheus_client import CONTENT_TYPE_LATEST
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from tinyfin.http_server import configured, require_both_sides, serve
    from tinyfin.prometheus.figures import exposed

    require_both_sides(where, "other machines are answered")
    newest = exposed(sources)

    def look() -> None:
        nonlocal newest
        newest = exposed(sources)

    async def answer(_: Request) -> Response:
        return Response(newest, media_type=CONTENT_TYPE_LATEST)

    def announce(at: str) -> None:
        text = f"figures at {at}/metrics"
        emit({"serving": text}, as_json, text)

    config = configured(Starlette(routes=[Route("/metrics", answer)]), where, _DEADLINE_S, _MOST)
    with repeated(look, every_s, f"{sources.lake.path}: not looked at", at_end=False):
        serve(config, where, announce)
