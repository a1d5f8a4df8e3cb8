# SPDX-License-Identifier: Apache-2.0
"""``tinyfin quantize``: the int8 network and the signed pack of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyfin.cli.output import claim, emit, json_option, note

if TYPE_CHECKING:
    from tinyfin.quantization.own_models.run_inputs import Meaning
    from tinyfin.results.parity import Parity
    from tinyfin.training.families import Readout

__all__ = ["command", "parity_text"]


def parity_text(found: Parity) -> str:
    """What was compared with TFLM, for people."""
    lines = [
        f"network against {found.reference}: {found.plan.differing_bytes} of {found.bytes} bytes "
        f"differ ({found.rows} rows)"
    ]
    for distance, label in (
        (found.litert_auto, "ai-edge-litert"),
        (found.litert_reference, "ai-edge-litert, reference"),
        (found.interpreter, f"--interpreter, {found.interpreter and found.interpreter.name}"),
    ):
        if distance is not None:
            lines.append(
                f"{label}: {distance.differing_bytes} bytes differ from TFLM's, by at most "
                f"{distance.max_abs_difference} (reported, not followed)"
            )
    sizes = found.sizes
    file = "" if sizes.tflite_bytes is None else f", .tflite {sizes.tflite_bytes}"
    lines.append(
        f"pack {sizes.pack_bytes} bytes, plan {sizes.plan_bytes}{file}, "
        f"{sizes.macs} multiplications"
    )
    return "\n".join(lines)


def _text(result: Mapping[str, object]) -> str:
    from tinyfin.cli.train import table_text
    from tinyfin.results.metrics import Metrics
    from tinyfin.results.parity import Parity

    found = table_text(Metrics.model_validate(result)), parity_text(Parity.model_validate(result))
    return "\n".join([*found, f"pack: {result['pack']}"])


@click.command()
@click.argument("run", type=click.Path(file_okay=False))
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False),
    help="A model of your own in the place of the RUN's: .keras, .onnx, .skops, .json, .ubj, .txt "
    "or .tflite (docs/models.md); makes a new run next to it.",
)
@click.option("--name", help="With --model: name of the new run; RUN-FILE if not given.")
@click.option(
    "--readout",
    type=click.Choice(["accumulator", "sum_of_squares", "reconstruction"]),
    help="With --model: how the score is taken; accumulator (one output, the logit) if not given.",
)
@click.option(
    "--inputs",
    type=click.Choice(["scaled", "codes", "features"]),
    help="With --model: what it was trained on. scaled, if not given: the int8 codes over 64; "
    "codes: the codes, as `network-inputs` writes them; features: as `features` writes them, "
    "trees only.",
)
@click.option(
    "--key",
    "key_path",
    type=click.Path(exists=True, dir_okay=False),
    help="Signing key; the public development key if not given.",
)
@click.option(
    "--security-counter",
    type=click.IntRange(0, 2**32 - 1),
    help="Terminals that have run a pack with a higher one refuse this pack; that of the "
    "RUN's pack if not given, 0 for its first.",
)
@click.option(
    "--interpreter",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Python with a TFLite interpreter of your own, such as tflite-runtime in its "
    "own environment: compared with TFLM, too, and reported.",
)
@json_option
def command(
    run: str,
    model: str | None,
    name: str | None,
    readout: Readout | None,
    inputs: Meaning | None,
    key_path: str | None,
    security_counter: int | None,
    interpreter: Path | None,
    as_json: bool,
) -> None:
    """Make model.tflite and model.tfpack of a RUN, compared with TFLM byte for byte.

    Tables and trees need no .tflite; the oracle is their reference.

    With --model a model of your own takes the place of the trained one: a network of Keras,
    PyTorch or scikit-learn, or trees of scikit-learn, XGBoost or LightGBM. It takes the codes of
    the RUN's input maps over 64 as float32, if --inputs does not say otherwise;
    `tinyfin network-inputs` writes the codes to train it on. Rows, features and calibration stay
    the RUN's.

    A RUN signed with --key keeps the public half in public.key, which the other commands trust, and
    the pack in the other layouts of the targets next to model.tfpack, signed too.
    """
    from tinyfin.pack.signing import load_key
    from tinyfin.quantization.workflow import quantize
    from tinyfin.training.run_folder import open_run

    if model is None and (name or readout or inputs):
        raise click.UsageError("--name, --readout and --inputs go with --model")
    key = None if key_path is None else load_key(key_path)
    found = open_run(run)
    if model is None:
        claim(run)
        result = quantize(
            found, key=key, security_counter=security_counter, interpreter=interpreter, note=note
        )
    else:
        from tinyfin.quantization.own_network import adopting, default_name

        claim(found.path.parent / (name or default_name(found, Path(model))))
        with adopting(
            found,
            Path(model),
            name=name,
            readout=readout or "accumulator",
            inputs=inputs or "scaled",
            note=note,
        ) as made:
            result = quantize(
                made, key=key, security_counter=security_counter, interpreter=interpreter, note=note
            )
    emit(result, as_json, _text(result))
