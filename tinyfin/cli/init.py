# SPDX-License-Identifier: Apache-2.0
"""``tinyfin init``: a firmware project of one's own to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from tinyfin.cli.boards import boards_option
from tinyfin.cli.output import claim, emit, json_option, note

__all__ = ["command"]


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--board", required=True, help="A name of `tinyfin targets`.")
@click.option("--platformio", "system", flag_value="platformio", help="Built by PlatformIO [this].")
@click.option("--cmake", "system", flag_value="cmake", help="Built by CMake, with presets.")
@click.option("--make", "system", flag_value="make", help="Built by GNU make.")
@click.option(
    "--run",
    type=click.Path(path_type=Path, exists=True),
    help="The run folder or .tfpack whose pack goes into the image; the reference pack of payments "
    "if not given.",
)
@boards_option
@json_option
def command(folder: Path, board: str, system: str | None, run: Path | None, as_json: bool) -> None:
    """Write a firmware project into DIR, which is new or empty.

    It holds an application that calls the engine, the build for the board and for this machine, a
    pack, tinyfin.toml to train your own, a rig file, tests for pytest, and a workflow for CI. What
    to type next is printed. A link, vendor/tinyfin, leads from the project to this installation.
    """
    from tinyfin import paths
    from tinyfin.starter.project import plan, write
    from tinyfin.targets import catalogue
    from tinyfin.targets.flash import how_to_get

    claim(folder, make_folder=True)
    target = catalogue.get(board)
    reference = paths.project_dir() / "models" / "payment" / "model.tfpack"
    project = plan(target, system or "platformio", reference if run is None else run)
    written = write(project, folder)
    missing = project.missing
    for name, how in missing.items():
        note(f"warning: {name} is not here, and the project needs it; get it with: {how}")
    commands = [f"cd {folder}", *project.build_commands, "tinyfin hil run --rig hil/rig.toml"]
    text = f"{folder}: firmware for {target.name}\nnow type:\n" + "".join(
        f"    {line}\n" for line in [*commands, "pytest"]
    )
    tools = {words[0]: how_to_get(words[0]) for words in target.flash_commands}
    if tools or target.emulator is None:
        text += f"and for the board ({target.note or target.title}):\n"
        text += "    plug it in, type `tinyfin hil suggest`, and complete hil/rig.toml with it\n"
        text += "".join(f"    {name} flashes it: {how}\n" for name, how in tools.items())
    emit(
        {
            "folder": str(folder),
            "board": target.name,
            "system": project.system,
            "files": [str(path) for path in written],
            "commands": commands,
            "missing": missing,
            "images": {"native": project.native_image, target.name: project.image},
        },
        as_json,
        text.rstrip("\n"),
    )
