# SPDX-License-Identifier: Apache-2.0
"""``tinyfin repack``: a pack in the weight layouts of the targets, signed again."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.output import emit, json_option, note

__all__ = ["command"]


@click.command(name="repack", short_help="Sign a pack in the weight layouts of the targets.")
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--target", "targets", multiple=True,
    help="Only the layout of this target; may be given again. All layouts if not given.",
)  # fmt: skip
@click.option(
    "--key", "key_path", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The key that signed the pack; not needed for the development key.",
)  # fmt: skip
@json_option
def command(run: Path, targets: tuple[str, ...], key_path: Path | None, as_json: bool) -> None:
    """Write the pack of RUN, a run folder or a .tfpack, in other layouts, beside it.

    A layout is the same model with its weights in the order that a core's kernels like; answers,
    state and model id stay. `build`, `flash` and `budget` take model.LAYOUT.tfpack when it lies
    beside model.tfpack; for a pack signed by the development key they need no such file.
    """
    from tinyfin.pack.layouts import write_layouts
    from tinyfin.pack.plan import LAYOUTS
    from tinyfin.pack.signing import DEVELOPMENT_KEY, load_key
    from tinyfin.targets import catalogue
    from tinyfin.targets.flash import run_pack

    key = DEVELOPMENT_KEY if key_path is None else load_key(key_path)
    layouts = tuple(dict.fromkeys(catalogue.get(name).layout for name in targets)) or LAYOUTS
    files = write_layouts(run_pack(run), key=key, layouts=layouts)
    if not files:
        note("there is nothing to write: no network, or it has this layout already")
    emit({"files": [str(path) for path in files]}, as_json, "\n".join(map(str, files)))
