# SPDX-License-Identifier: Apache-2.0
"""``tinyfin notices``: what an acquirer learned of transactions, signed, to a terminal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tinyfin.cli.output import (
    FILE,
    DataFile,
    Group,
    aligned,
    claim,
    emit,
    json_option,
    note,
    out_option,
)
from tinyfin.cli.terminal import Terminal, terminal_options
from tinyfin.cli.trust import command_key_option, keys_option

__all__ = ["command"]


@click.group(cls=Group)
def command() -> None:
    """Notices of fraud, or of cleared suspicion, to a terminal in service: signed, done once."""


@command.command("make")
@click.argument("file", type=DataFile(Path))
@click.option("--terminal", "terminal_id", required=True, help="Its id, 16 hexadecimal digits.")
@click.option(
    "--first",
    type=click.IntRange(1, 65535),
    required=True,
    help="Number of the first page: one more than that of the last page made for this terminal.",
)
@click.option(
    "--page-notices",
    type=click.IntRange(1, 255),
    default=8,
    show_default=True,
    help="Notices of a page; with more than 8 it does not fit the frame of a small terminal.",
)
@command_key_option
@keys_option
@out_option("The pages, a .tfnotices file.")
@json_option
def make(
    file: Path,
    terminal_id: str,
    first: int,
    page_notices: int,
    key_path: Path | None,
    keys_path: Path | None,
    out_path: Path,
    as_json: bool,
) -> None:
    """Sign the notices of FILE (CSV, Parquet or Arrow) for one terminal.

    Columns: id of the transaction; time when it was, in seconds of the terminal's clock; label,
    fraud or cleared; and token of the card, if it is known.
    """
    from tinyfin import files
    from tinyfin.field.keys import parse_terminal_id
    from tinyfin.field.notices import make_pages, read_notices, sign_page
    from tinyfin.field.signers import command_signer

    claim(out_path)
    terminal = parse_terminal_id(terminal_id)
    notices = read_notices(file)
    signer, index = command_signer(key_path, keys_path)
    pages = make_pages(notices, terminal, first, key_index=index, size=page_notices)
    files.write(out_path, b"".join(sign_page(page, signer) for page in pages))
    frauds = sum(notice.fraud for notice in notices)
    facts = {
        "file": str(out_path),
        "terminal": terminal.hex(),
        "notices": len(notices),
        "fraud": frauds,
        "first": first,
        "last": pages[-1].number,
    }
    text = f"{out_path}: {len(notices)} notices, {frauds} of fraud, for terminal {terminal.hex()}"
    emit(facts, as_json, f"{text}, pages {first} to {pages[-1].number}")


@command.command("show")
@click.argument("file", type=FILE)
@json_option
def show(file: Path, as_json: bool) -> None:
    """The notices of a file; its signatures are not checked."""
    from tinyfin.field.notices import parse_pages

    pages = [page for page, _ in parse_pages(file.read_bytes(), file)]
    facts = {"terminal": pages[0].terminal, "pages": [asdict(page) for page in pages]}
    rows = [
        [
            str(page.number),
            str(notice.id),
            str(notice.t_tx_mono_s),
            "fraud" if notice.fraud else "cleared",
            f"{notice.token:016x}" if notice.token else "-",
        ]
        for page in pages
        for notice in page.notices
    ]
    table = aligned([["page", "id", "time", "label", "token"], *rows])
    emit(facts, as_json, "\n".join([f"terminal {pages[0].terminal.hex()}", *table]))


@command.command("send")
@click.argument("file", type=FILE)
@terminal_options
@json_option
def send(file: Path, terminal: Terminal, as_json: bool) -> None:
    """Send the pages of FILE that the terminal has not done yet.

    When line or power fail, the same command goes on. Pages must follow the last one that the
    terminal has done.
    """
    from tinyfin.field.notices import parse_pages
    from tinyfin.progress import stage
    from tinyfin.wire import field_frames

    pages = parse_pages(file.read_bytes(), file)
    with terminal.connected() as client:
        before = field_frames.challenge(client).notices
        with stage("sending notices", len(pages), "pages") as shown:
            now = field_frames.send_notices(client, pages, lambda at, of: shown.at(at, of, "pages"))
    if now.notices == before:
        note("nothing was sent: the terminal has done these pages already")
    facts = {"terminal": now.terminal.hex(), "notices_before": before, "notices": now.notices}
    emit(facts, as_json, f"terminal {now.terminal.hex()} has done the pages up to {now.notices}")
