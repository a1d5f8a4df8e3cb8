# SPDX-License-Identifier: Apache-2.0
"""``tinyfin bench``: any int8 .tflite on a target."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import emit, json_option, note
from tinyfin.progress import stage

__all__ = ["command"]


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--target", "target_name", required=True, help="A name of `tinyfin targets`.")
@click.option(
    "--inputs",
    "inputs_path",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="int8 .npy, one row each.",
)
@click.option(
    "--expect",
    "expect_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="int8 .npy with the expected outputs; other outputs end with exit code 4.",
)
@boards_option
@json_option
def command(
    model: Path, target_name: str, inputs_path: Path, expect_path: Path | None, as_json: bool
) -> None:
    """Compile MODEL, an int8 .tflite, to a plan and run it on an emulated target.

    Reports the output bytes that differ from --expect, guest instructions per inference (the
    network alone), flash (network code and plan, weights included), RAM (activations and scratch)
    and stack.
    """
    import numpy as np

    from tinyfin.errors import InputError, MismatchError
    from tinyfin.measure.network_costs import bench

    def array(path: Path) -> np.ndarray:
        try:
            found: np.ndarray = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as .npy: {error}") from error
        return found

    inputs = array(inputs_path)
    expected = None if expect_path is None else array(expect_path)
    with stage("inferring", len(inputs), "rows") as inferring:
        result = bench(model, target_name, inputs, expected, progress=inferring.step)
    facts = result.as_dict()
    lines = [f"{key.replace('_', ' ')}: {value}" for key, value in facts.items()]
    emit(facts, as_json, "\n".join(lines))
    if result.mismatched_bytes:
        error = MismatchError(
            f"{target_name}: {result.mismatched_bytes} output bytes differ from {expect_path}"
        )
        note(f"error: {error}")
        raise SystemExit(error.exit_code)
