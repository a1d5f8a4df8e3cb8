# SPDX-License-Identifier: Apache-2.0
"""``tinyfin network-inputs``: what the network of a run sees, to train another network on."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.features import matrix_text
from tinyfin.cli.output import DataFile, claim, emit, json_option, note, skip_bad_rows_option

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("data", nargs=-1, required=True, type=DataFile())
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False),
    help="Write the inputs to this file (.parquet or .csv).",
)
@click.option("--with-label", is_flag=True, help="The label as a column after the inputs.")
@click.option(
    "--with-part",
    is_flag=True,
    help="What the RUN used each row for: fit, validation, calibration or test.",
)
@skip_bad_rows_option
@json_option
def command(
    run: Path,
    data: tuple[str, ...],
    out: str,
    with_label: bool,
    with_part: bool,
    skip_bad_rows: str | None,
    as_json: bool,
) -> None:
    """Compute the inputs of a RUN's network for the transactions of DATA.

    One row per transaction in input order: the int8 codes that the RUN's input maps make of its
    features. A network of your own takes them divided by 64; train it on the rows that --with-part
    calls fit and validation, and give it to `tinyfin quantize RUN --model`. DATA is read as the
    RUN's configuration says.
    """
    from tinyfin.training.export_features import write_matrix
    from tinyfin.training.network_inputs import Partition
    from tinyfin.training.run_folder import open_run

    found = open_run(run)
    claim(out, skip_bad_rows, make_folder=True)
    result = write_matrix(
        data,
        found.config(),
        out,
        maps=found.maps(),
        with_label=with_label,
        parting=Partition.of(found) if with_part else None,
        skip_bad_rows=skip_bad_rows,
        note=note,
    )
    emit(result, as_json, matrix_text(result))
