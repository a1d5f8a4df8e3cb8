# SPDX-License-Identifier: Apache-2.0
"""Writes a firmware project: application, build, rig, tests and workflow, from the templates."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinyfin import __version__, files, optional_packages, paths
from tinyfin.codegen.pack_layout import read_layout
from tinyfin.errors import InputError
from tinyfin.pack.trust import PUBLIC_KEY_FILE
from tinyfin.starter.board_facts import board_facts
from tinyfin.targets import system
from tinyfin.targets.catalogue import Target
from tinyfin.targets.flash import run_pack, target_pack

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["SYSTEMS", "Project", "plan", "write"]

SYSTEMS = ("platformio", "cmake", "make")

_ALWAYS = {
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "pytest.ini": "pytest.ini",
    "tinyfin.toml": "tinyfin.toml",
    "hil/rig.toml": "hil/rig.toml",
    "test_terminal": "tests/test_terminal.py",
    "firmware.yml": ".github/workflows/firmware.yml",
}
"""Templates and where they go."""
_OF_SYSTEM = {
    "platformio": {"platformio.ini": "platformio.ini"},
    "cmake": {
        "CMakeLists.txt": "CMakeLists.txt",
        "CMakePresets.json": "CMakePresets.json",
        "toolchain.cmake": "board/toolchain.cmake",
        "memory.ld": "board/memory.ld",
    },
    "make": {"Makefile": "Makefile", "memory.ld": "board/memory.ld"},
}


@dataclass(frozen=True)
class Project:
    """What a project is made of; paths are seen from its folder."""

    target: Target
    system: str
    pack: Path
    """The pack that goes into the image, before it is copied."""

    @property
    def image(self) -> str:
        """The board's image."""
        return f"{self._folder}/{self.target.name}/firmware.elf"

    @property
    def native_image(self) -> str:
        """The program of this machine."""
        name = "program" if self.system == "platformio" else "firmware"
        return f"{self._folder}/native/{name}"

    @property
    def _folder(self) -> str:
        return ".pio/build" if self.system == "platformio" else "build"

    @property
    def build_commands(self) -> tuple[str, ...]:
        """What builds both."""
        if self.system != "cmake":
            return ("pio run" if self.system == "platformio" else "make",)
        both = ("native", self.target.name)
        return tuple(f"cmake --preset {one} && cmake --build --preset {one}" for one in both)

    @property
    def layout_file(self) -> str:
        """The pack in the layout of the board's kernels, which PlatformIO takes from next to the
        canonical one; empty when that is the canonical one or the build makes it."""
        if self.system != "platformio" or self.target.layout == "canonical":
            return ""
        return f"model.{self.target.layout}.tfpack"

    @property
    def programs(self) -> list[str]:
        """What builds and runs it, and is installed by the system."""
        wanted = [self.target.compiler, "cc"]
        if self.target.emulator is not None:
            wanted.append(self.target.emulator.command[0])
        if self.system != "platformio":
            wanted.append("make")
        return wanted

    @property
    def packages(self) -> list[str]:
        """Debian's packages of the programs, and of what tinyfin itself is compiled with."""
        known = {program.name: program.apt for program in system.PROGRAMS}
        wanted = [*self.programs, "c++"]
        return sorted({word for name in wanted for word in known.get(name, name).split()})

    @property
    def missing(self) -> dict[str, str]:
        """The tools that are not here, and how to get each."""
        known = {program.name: program for program in system.PROGRAMS}
        absent = [name for name in self.programs if shutil.which(name) is None]
        found = {
            name: system.install_command([known[name]])
            if name in known
            else system.install_words([name], system.package_manager() or "apt-get")
            for name in absent
        }
        if self.system == "cmake" and shutil.which("cmake") is None:
            found["cmake"] = "pip install cmake"
        if self.system == "platformio" and importlib.util.find_spec("platformio") is None:
            found["platformio"] = optional_packages.install_command("build")
        return found


def plan(target: Target, system_name: str, run: Path) -> Project:
    """A project for a target with the pack of a run. Raises InputError for a pack of other events,
    ConfigError for a board that the build system cannot build."""
    pack = run_pack(run)
    schema = read_layout(pack.read_bytes()).schema_name
    if schema != "payment":
        raise InputError(
            f"{pack}: its events are of the schema {schema!r}, and the application of a new "
            "project fills payments; write the C of this pack with `tinyfin codegen`"
        )
    if system_name != "platformio":
        board_facts(target)
    return Project(target, system_name, pack)


def write(project: Project, folder: Path) -> list[Path]:
    """Write the project; the files, seen from its folder. Raises InputError unless the folder is
    new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already, and not empty; name a new folder")
    with files.folder(folder) as made:
        for place, text in _texts(project):
            files.write(made / place, text.encode(), make_folder=True)
        for source in sorted((paths.firmware_dir() / "examples" / "starter").iterdir()):
            files.write(made / "src" / source.name, source.read_bytes(), make_folder=True)
        _put_pack(project, made)
        _put_board(project.target, made)
        (made / "vendor").mkdir()
        (made / "vendor" / "tinyfin").symlink_to(paths.project_dir())
        written = [path.relative_to(made) for path in sorted(made.rglob("*"))]
        return [path for path in written if (made / path).is_symlink() or (made / path).is_file()]


def _put_pack(project: Project, made: Path) -> None:
    files.write(made / "model.tfpack", project.pack.read_bytes())
    if project.layout_file:
        laid_out = target_pack(project.pack, project.target)
        files.write(made / project.layout_file, laid_out.read_bytes())
    key = project.pack.parent / PUBLIC_KEY_FILE
    if key.is_file():
        files.write(made / PUBLIC_KEY_FILE, key.read_bytes())


def _put_board(target: Target, made: Path) -> None:
    """A board file of one's own, with the port that comes with it."""
    if not target.is_own:
        return
    boards = made / "boards"
    files.write(boards / target.board_file.name, target.board_file.read_bytes(), make_folder=True)
    if target.own_port is not None:
        if not target.own_port.is_relative_to(target.board_file.parent.resolve()):
            raise InputError(
                f"{target.board_file}: build.port = {target.port!r} lies outside of the board "
                "file's folder, and a project has to hold its port; move it next to the board file"
            )
        shutil.copytree(target.own_port, boards / target.port)


def _texts(project: Project) -> Iterator[tuple[str, str]]:
    target = project.target
    facts: dict[str, object] = {
        "version": __version__,
        "board": target.name,
        "title": target.title,
        "note": target.note,
        "own": target.is_own,
        "system": project.system,
        "emulated": target.emulator is not None,
        "emulator_apart": target.emulator is not None
        and target.emulator.flash_file_bytes is not None,
        "extras": "build,espressif"
        if any(command[0].startswith("esptool") for command in target.flash_commands)
        else "build",
        "flash_tools": [command[0] for command in target.flash_commands],
        "image": project.image,
        "native_image": project.native_image,
        "build_commands": project.build_commands,
        "layout_file": project.layout_file,
        "packages": project.packages,
        "public_key": PUBLIC_KEY_FILE if (project.pack.parent / PUBLIC_KEY_FILE).is_file() else "",
    }
    if project.system != "platformio":
        facts |= asdict(board_facts(target))
    templates = _environment()
    for name, place in (_ALWAYS | _OF_SYSTEM[project.system]).items():
        yield place, templates.get_template(name).render(facts)


def _environment() -> Environment:
    """Marks that neither C nor make, CMake, TOML or a workflow has."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("tinyfin.starter"),
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
