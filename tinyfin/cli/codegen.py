# SPDX-License-Identifier: Apache-2.0
"""``tinyfin codegen``: the C that a firmware project links."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import claim, emit, json_option, note
from tinyfin.cli.trust import public_key_option, root_key_option, root_public_key

__all__ = ["command"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out",
    "out_dir",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder to write into; made when missing.",
)
@click.option(
    "--target",
    "target_name",
    help="Weights in the layout of this target's kernels (tinyfin targets); canonical, which every "
    "core runs, if not given.",
)
@click.option(
    "--prefix",
    default="tinyfin",
    show_default=True,
    help="What all names begin with, of files too: one for each pack of a firmware with several.",
)
@click.option(
    "--with-monocypher",
    is_flag=True,
    help="Write OUT/monocypher/monocypher.c and .h too: the hash and the signature that the engine "
    "asks a project for. Compile them with BLAKE2_NO_UNROLLING.",
)
@click.option(
    "--tflm",
    is_flag=True,
    help="Write tinyfin_tflm.cpp, its model and facts too: with them TensorFlow Lite Micro runs "
    "the network, in place of tinyfin's kernels. Needs a run folder.",
)
@public_key_option
@root_key_option
@boards_option
@json_option
def command(
    run: Path,
    out_dir: Path,
    target_name: str | None,
    prefix: str,
    with_monocypher: bool,
    tflm: bool,
    public_keys: tuple[Path, ...],
    root_key: Path | None,
    as_json: bool,
) -> None:
    """Write the pack of RUN, a run folder or a .tfpack, as C.

    tinyfin_pack.h has the sizes, the event's struct and the checks that both hold; tinyfin_pack.c
    the pack as an aligned array, and the public keys that the terminal trusts, with the root key.
    From a run folder with a model.tflite come model_tflite.h and .c
    too, for those who run the network alone in another interpreter; --tflm is for the whole engine
    with TensorFlow Lite Micro in it (docs/firmware.md).

    With --prefix health the files are health_pack.h and .c, the array health_pack, the constants
    HEALTH_...: several packs go into one folder and one firmware.
    """
    from tinyfin import files
    from tinyfin.codegen import tflm as interpreter
    from tinyfin.codegen.emit import PREFIX, file_names
    from tinyfin.codegen.emit import emit as write
    from tinyfin.codegen.monocypher import FOLDER as MONOCYPHER
    from tinyfin.codegen.monocypher import put_beside
    from tinyfin.codegen.pack_layout import read_layout
    from tinyfin.errors import InputError
    from tinyfin.pack.trust import require_trusted, trusted_keys
    from tinyfin.targets import catalogue
    from tinyfin.targets.flash import run_pack, target_pack

    ours = file_names(prefix)
    if tflm and prefix != PREFIX:
        raise InputError("--tflm is for one pack, whose network the interpreter holds: no --prefix")
    claim(out_dir, make_folder=True)
    path = run_pack(run)
    keys = trusted_keys(run, public_keys)
    root = root_public_key(root_key)
    require_trusted(path.read_bytes(), keys, run)
    if target_name is not None:
        path = target_pack(run, catalogue.get(target_name), keys, note)
    pack = path.read_bytes()
    tflite = run / "model.tflite" if run.is_dir() else None
    model = tflite.read_bytes() if tflite is not None and tflite.is_file() else None
    if tflm and model is None:
        raise InputError(
            f"{run}: --tflm needs the folder of a run with model.tflite next to model.tfpack; "
            "models that are no network of layers (density, forest) have none"
        )
    with files.folder(out_dir, ours=(*ours, MONOCYPHER, *interpreter.FILES)) as made:
        written = write(pack, made, tflite=model, keys=keys, root_key=root, prefix=prefix)
        if tflm and model is not None:
            written += interpreter.emit_tflm(pack, model, made)
        if with_monocypher:
            written += put_beside(made / MONOCYPHER)
    written = [out_dir / path.relative_to(made) for path in written]
    layout = read_layout(pack)
    emit(
        {
            "files": [str(path) for path in written],
            "pack_id": layout.pack_id,
            "pack_bytes": layout.pack_bytes,
            "memory_bytes": layout.memory_bytes,
            "state_bytes": layout.state_bytes,
        },
        as_json,
        "\n".join(map(str, written)) + f"\npack {layout.pack_id}: {layout.pack_bytes} B of flash, "
        f"{layout.memory_bytes} B of memory",
    )
