# SPDX-License-Identifier: Apache-2.0
"""The repository as a Zephyr module, in the application of firmware/examples/zephyr.

``west`` and ``kconfiglib`` are the real ones. Zephyr itself is not run: ``zephyr/`` stands in for
its build system and declares what the example calls. The example is compiled for a Cortex-M4, and
runs on this machine.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.ecosystems.conftest import Score, compile_one, kconfig
from tests.support.process import call, need
from tinyfin import paths

ROOT = paths.project_dir()
STAND_IN = Path(__file__).parent / "zephyr"
EXAMPLE = paths.firmware_dir() / "examples" / "zephyr"
PARTS = ("zephyr", "firmware/lib/tinyfin")
"""What a module is made of."""
MANIFEST = """
manifest:
  projects:
    - name: tinyfin
      url: file://{url}
      revision: main
  self:
    path: application
"""


def git(folder: Path, *words: str) -> None:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com"}
    who |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}
    call("git", "-c", "init.defaultBranch=main", *words, cwd=folder, env={**os.environ, **who})


def commit(folder: Path) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all")


@pytest.fixture(scope="module")
def workspace(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that west has set up: the example as its application, and tinyfin from a
    repository."""
    remote = tmp_path_factory.mktemp("remote") / "tinyfin"
    for part in PARTS:
        shutil.copytree(ROOT / part, remote / part)
    commit(remote)
    top = tmp_path_factory.mktemp("workspace")
    shutil.copytree(EXAMPLE, top / "application")
    shutil.copytree(EXAMPLE.parent / "payment", top / "payment")
    shutil.copytree(generated, top / "application" / "generated")
    (top / "application" / "west.yml").write_text(MANIFEST.format(url=remote))
    commit(top / "application")
    west(top, "init", "-l", "application")
    west(top, "update")
    return top


def west(top: Path, *words: str) -> str:
    return call(sys.executable, "-m", "west", *words, cwd=top).stdout


def modules(top: Path) -> dict[str, tuple[Path, Path]]:
    """Of each project that west lists and that is a module: folder of CMake, file of Kconfig."""
    found = {}
    for line in west(top, "list", "-f", "{abspath}").splitlines():
        about = Path(line) / "zephyr" / "module.yml"
        if about.is_file():
            facts = yaml.safe_load(about.read_text())
            build = facts["build"]
            found[facts["name"]] = Path(line) / build["cmake"], Path(line) / build["kconfig"]
    return found


def configure(top: Path, folder: Path, *words: str, code: int | None = 0, **values: str) -> str:
    """Configure the application; what was said. ``values`` are lines of prj.conf."""
    [(name, (cmake, options))] = modules(top).items()
    assert (cmake / "CMakeLists.txt").is_file()
    folder.mkdir()
    top_kconfig = folder / "Kconfig"
    top_kconfig.write_text(
        f'osource "{options}"\nconfig MAIN_STACK_SIZE\n\tint "stack of main"\n\tdefault 1024\n'
    )
    settings = top / "application" / "prj.conf"
    config = kconfig(top_kconfig, folder / "config.cmake", settings, **values)
    said = call(
        *(
            "cmake",
            "-DCMAKE_EXPORT_COMPILE_COMMANDS=1",
            "-S",
            top / "application",
            "-B",
            folder,
            f"-DCONFIG_CMAKE={config}",
            *words,
        ),
        f"-DZEPHYR_MODULES={name}:{cmake}",
        env={**os.environ, "ZEPHYR_BASE": str(STAND_IN)},
        code=code,
    )
    return said.stdout + said.stderr


def test_the_example_runs(workspace: Path, tmp_path: Path, score: Score) -> None:
    configure(workspace, tmp_path / "build", "-DSTAND_IN_RUNS=1")
    call("cmake", "--build", tmp_path / "build", "-j2")
    said = call(tmp_path / "build" / "zephyr").stdout.splitlines()
    assert said == [score.line(5, 1999)]


def test_it_compiles_for_a_cortex_m4(workspace: Path, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    core = "-mthumb -mcpu=cortex-m4 -Os"
    configure(
        workspace,
        tmp_path / "build",
        "-DCMAKE_SYSTEM_NAME=Generic",
        "-DCMAKE_C_COMPILER=arm-none-eabi-gcc",
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
        f"-DCMAKE_C_FLAGS={core} -I{paths.firmware_dir() / 'ports' / 'include'}",
        CONFIG_TINYFIN_NO_ERROR_TEXT="y",
    )
    call("cmake", "--build", tmp_path / "build", "-j2")
    [library] = (tmp_path / "build").rglob("libtinyfin.a")
    names = call("arm-none-eabi-nm", library).stdout
    assert " T tfin_open\n" in names
    assert " T crypto_eddsa_check\n" in names
    assert "signature does not verify" not in str(library.read_bytes())


def test_without_its_option_nothing_is_compiled(workspace: Path, tmp_path: Path) -> None:
    configure(workspace, tmp_path / "build", CONFIG_TINYFIN="n")
    assert "tinyfin.h: No such file" in compile_one(tmp_path / "build", "main.c")
    assert "engine.c" not in (tmp_path / "build" / "compile_commands.json").read_text()


def test_the_engine_without_a_pack(workspace: Path, tmp_path: Path) -> None:
    configure(workspace, tmp_path / "build", CONFIG_TINYFIN_GENERATED='""')
    commands = (tmp_path / "build" / "compile_commands.json").read_text()
    assert "engine.c" in commands
    assert "generated" not in commands


def test_a_release_refuses_the_development_pack(workspace: Path, tmp_path: Path) -> None:
    configure(workspace, tmp_path / "build", CONFIG_TINYFIN_RELEASE="y")
    said = compile_one(tmp_path / "build", "tinyfin_pack.c")
    assert "no release opens a pack of the development key" in said


def test_a_folder_without_generated_code_is_named(workspace: Path, tmp_path: Path) -> None:
    said = configure(workspace, tmp_path / "build", code=1, CONFIG_TINYFIN_GENERATED='"elsewhere"')
    wanted = f"there is no {workspace}/application/elsewhere/tinyfin_pack.h"
    assert wanted in " ".join(said.split())


def test_every_option_is_a_macro_of_the_header() -> None:
    """But for the folder, an option names the macro that it sets, and the header explains it."""
    library = paths.firmware_dir() / "lib" / "tinyfin"
    options = (library / "Kconfig").read_text()
    listed = (library / "include" / "tinyfin.h").read_text()
    names = set(re.findall(r"^config TINYFIN_(\w+)", options, re.MULTILINE)) - {"GENERATED"}
    assert len(names) == 4
    assert set(re.findall(r"\(TFIN_(\w+)\)", options)) == names
    assert [name for name in names if f"    TFIN_{name} " not in listed] == []
