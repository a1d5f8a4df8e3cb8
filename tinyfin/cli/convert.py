# SPDX-License-Identifier: Apache-2.0
"""``tinyfin convert``: captures of ISO 8583 messages or EMV data as transactions."""

from __future__ import annotations

import click

from tinyfin.cli.output import DataFile, claim, emit, json_option, note, skip_bad_rows_option

__all__ = ["command"]


@click.command()
@click.argument("captures", nargs=-1, required=True, type=DataFile(), metavar="CAPTURE...")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False),
    help="Write the transactions to this file (.parquet).",
)
@click.option(
    "--dialect",
    help="How ISO 8583 messages are written: ascii, ascii-hex, bcd, or a TOML file [ascii].",
)
@click.option("--tlv", is_flag=True, help="The captures hold EMV data (BER-TLV), not messages.")
@click.option(
    "--token-key",
    type=click.Path(exists=True, dir_okay=False),
    help="File with the secret key of the tokens that replace card numbers.",
)
@click.option(
    "--public-hash",
    is_flag=True,
    help="Make the tokens with the public key instead: anybody can compute them.",
)
@click.option(
    "--year",
    "years",
    multiple=True,
    type=click.IntRange(2000, 2099),
    help="Year of the first message of every CAPTURE, for dates without one; or give it once for "
    "each CAPTURE.",
)
@click.option("--terminal", help="Terminal of messages that name none (DE41, tag 9F1C).")
@skip_bad_rows_option
@json_option
def command(
    captures: tuple[str, ...],
    out: str,
    dialect: str | None,
    tlv: bool,
    token_key: str | None,
    public_hash: bool,
    years: tuple[int, ...],
    terminal: str | None,
    skip_bad_rows: str | None,
    as_json: bool,
) -> None:
    """Write the transactions of CAPTUREs as a Parquet file that `tinyfin train` reads as it is.

    A CAPTURE holds a message per line in hexadecimal digits, or binary messages with their length
    in two bytes before each. Requests (0100, 0200) are joined with responses, and with reversals
    (0400, 0420), which give the result; an advice (0120, 0220) without a request is a transaction
    of its own. No card number is written: tokens take their place (docs/emv.md).
    """
    from tinyfin.captures import convert
    from tinyfin.captures.iso8583 import load_dialect
    from tinyfin.data.tokens import load_token_key

    if tlv and dialect is not None:
        raise click.UsageError("--dialect is for ISO 8583 messages: leave out --tlv")
    if (token_key is None) == (not public_hash):
        raise click.UsageError(
            "card numbers become tokens: give --token-key FILE (make one with python3 -c 'import "
            "secrets; print(secrets.token_hex(32))'), or --public-hash, whose tokens protect "
            "nothing: whoever tries card numbers finds the one behind each of them"
        )
    claim(out, skip_bad_rows, make_folder=True)
    if public_hash:
        note(
            "WARNING: the tokens are made with the public key: anybody can find the card numbers "
            f"behind them by trying; treat {out} as you treat card numbers"
        )
    result = convert(
        captures,
        out,
        token_key=load_token_key(token_key),
        dialect=None if tlv else load_dialect(dialect or "ascii"),
        year=years or None,
        terminal=terminal,
        skip_bad_rows=skip_bad_rows,
    )
    lines = [
        f"{result['messages']} messages, {result['transactions']} transactions: {out}",
        "results: " + ", ".join(f"{n} {name}" for name, n in result["results"].items()),
        f"columns: {', '.join(result['columns'])}",
    ]
    lines += [f"passed over: {n} {name}" for name, n in result["passed_over"].items()]
    if result["bad"]:
        lines.append(f"{result['bad']} messages cannot be read: {skip_bad_rows}")
    emit(result, as_json, "\n".join(lines))
