# SPDX-License-Identifier: Apache-2.0
"""``tinyfin init``: a stranger's project builds and replays, and its workflow runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from tests.support import sample
from tests.support.cli import tinyfin, tinyfin_json
from tests.support.process import call, need
from tinyfin import config, paths
from tinyfin.hil.rigs import rigfile
from tinyfin.starter import project
from tinyfin.targets import catalogue

pytestmark = pytest.mark.live

FIRMWARE = paths.firmware_dir()
DEADLINE_S = 280
BUILT = {"make": "own_riscv", "cmake": "stm32f405", "platformio": "cortex-m0"}
"""Boards by build system: one of ones own, flash tools, a layout of its own and small RAM."""
TOOLS = {"make": ["make"], "cmake": ["cmake", "make"], "platformio": []}


def shell(line: str, folder: Path, code: int | None = 0) -> CompletedProcess[str]:
    """A line that a user types in the project, with tinyfin, pio and pytest on PATH."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "MAKE"))},
        "PATH": programs,
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "TINYFIN_CACHE": str(paths.cache_dir()),
    }
    return call("bash", "-ec", line, code=code, cwd=folder, env=env, deadline_s=DEADLINE_S)


def workflow(folder: Path) -> list[str]:
    """What the project's workflow runs, without the steps that install."""
    text = (folder / ".github" / "workflows" / "firmware.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["firmware"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    installs = [run for run in runs if re.match(r"sudo apt-get|python3 -m pip install", run)]
    assert len(installs) == 2
    assert re.search(r"\./vendor/tinyfin\[build(,espressif)?\]", installs[1])
    return [run for run in runs if run not in installs]


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """A folder with a board of one's own and its port."""
    folder = tmp_path / "boards"
    shutil.copytree(FIRMWARE / "ports" / "riscv_virt", folder / "port")
    table: dict[str, Any] = json.loads(catalogue.get("rv32imc").board_file.read_text())
    table["build"]["port"] = "./port"
    (folder / "own_riscv.json").write_text(json.dumps(table))
    return folder


@pytest.mark.parametrize("system", BUILT)
def test_a_new_project_does_what_its_workflow_says(
    system: str, boards: Path, tmp_path: Path
) -> None:
    target = catalogue.get(BUILT[system], boards)
    assert target.emulator is not None
    need(target.compiler, target.emulator.command[0], *TOOLS[system])
    folder = tmp_path / "a project"
    told = tinyfin_json(f"init --board {target.name} --{system} --boards {boards}", folder)
    shutil.rmtree(boards)
    assert told["commands"][1:-1] == yaml_lines(folder, "build")
    for run in workflow(folder):
        shell(run, folder)
    cases = (folder / "junit.xml").read_text()
    result = json.loads((folder / "hil" / "results" / "result.json").read_text())
    ran = {one["name"]: one["target"] for one in result["targets"]}
    assert ran == {"native": "host", "emulated": target.name}
    assert result["totals"]["verdicts"] == 2 * 600
    assert result["totals"]["mismatches"] == result["totals"]["lost"] == 0
    assert 'failures="0"' in cases
    images = [folder / image for image in told["images"].values()]
    assert all(image.is_file() for image in images)
    # nothing else is written into what git would see
    call("git", "init", "-q", folder)
    seen = call("git", "-C", folder, "status", "--porcelain", "-uall").stdout.split("\n")
    new = {line[3:].strip('"') for line in seen if line} - set(told["files"])
    assert new == set()


def yaml_lines(folder: Path, name: str) -> list[str]:
    text = (folder / ".github" / "workflows" / "firmware.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["firmware"]["steps"]
    (run,) = (step["run"] for step in steps if step.get("name") == name)
    return [str(line) for line in run.splitlines()]


def test_wrong_firmware_and_another_pack_are_caught(tmp_path: Path) -> None:
    """The control: the project's own rig fails, and says why, when its kernel computes something
    else, when its image holds another pack, and when there is no image."""
    need("make", "cc")
    folder = tmp_path / "p"
    tinyfin(f"init {folder} --board cortex-m4 --make")
    replay = "tinyfin hil run --rig hil/rig.toml --target native --events 50"
    missing = shell(replay, folder, code=5)
    told = r"FAILED +flash: native: image: \S+: no such file; build it first"
    assert re.search(told, missing.stdout)
    shell("make image MACHINE=native", folder)
    (folder / "model.tfpack").write_bytes(sample.make_pack())
    assert "runs pack" in shell(replay, folder, code=5).stdout
    for objects in (folder / "build" / "native" / "objects").rglob("kernels"):
        shutil.rmtree(objects)
    shell("make image MACHINE=native CFLAGS=-DTFIN_SABOTAGE_KERNEL", folder)
    assert "mismatch: native" in shell(replay, folder, code=4).stdout


@pytest.mark.parametrize("target", sorted(catalogue.load()))
@pytest.mark.parametrize("system", project.SYSTEMS)
def test_every_board_gets_files_that_can_be_read(system: str, target: str, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    done = tinyfin(f"init {folder} --board {target} --{system}", code=None)
    if done.exit_code == 3 and system != "platformio":
        assert "use --platformio" in done.stderr
        assert not folder.exists()
        return
    assert done.exit_code == 0, done.output
    board = catalogue.get(target)
    rig = rigfile.load(folder / "hil" / "rig.toml")
    assert rig.targets["native"].off is None
    assert ("emulated" in rig.targets) == (board.emulator is not None)
    assert ("board" in rig.targets) == (bool(board.flash_commands) or board.emulator is None)
    if "board" in rig.targets:
        assert "hil suggest" in str(rig.targets["board"].off)
        assert "plug it in" in done.stdout
        assert all(words[0] in done.stdout for words in board.flash_commands)
    config.load(folder / "tinyfin.toml")
    assert workflow(folder)[1].startswith("tinyfin hil run")
    for path in folder.rglob("*"):
        if path.suffix in (".md", ".ini", ".toml", ".txt", ".json", ".cmake", ".yml", ".ld"):
            assert not re.search(r"<[<%#]|[>%#]>", path.read_text()), path
    if system == "cmake":
        presets = json.loads((folder / "CMakePresets.json").read_text())
        assert {one["name"] for one in presets["buildPresets"]} == {"native", target}
    assert (folder / "vendor" / "tinyfin" / "platformio.ini").is_file()
    wanted = {"columns": "model.columns.tfpack", "rows": "model.rows.tfpack"}.get(board.layout)
    there = {path.name for path in folder.glob("*.tfpack")} - {"model.tfpack"}
    assert there == ({wanted} if wanted and system == "platformio" else set())


def test_what_is_refused(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.c").touch()
    done = tinyfin(f"init {full} --board cortex-m4", code=3)
    assert "is there already, and not empty; name a new folder" in done.stderr
    assert [path.name for path in full.iterdir()] == ["mine.c"]
    (tmp_path / "file").touch()
    tinyfin(f"init {tmp_path}/file --board cortex-m4", code=3)
    done = tinyfin(f"init {tmp_path}/p --board cortex-m44", code=3)
    assert "did you mean" in done.stderr
    boards = tmp_path / "boards"
    boards.mkdir()
    table: dict[str, Any] = json.loads(catalogue.get("rv32imc").board_file.read_text())
    table["build"]["ldscript"] = "own.ld"
    (boards / "own.json").write_text(json.dumps(table))
    done = tinyfin(f"init {tmp_path}/p --board own --boards {boards} --make", code=3)
    assert "(build.ldscript), and only the PlatformIO build does that" in done.stderr
    table["build"].update(port="../elsewhere")
    (boards / "own.json").write_text(json.dumps(table))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "port.c").touch()
    done = tinyfin(f"init {tmp_path}/p --board own --boards {boards}", code=3)
    assert "lies outside of the board file's folder" in done.stderr
    health = sorted(paths.project_dir().glob("models/terminal_health/*.tfpack"))[0]
    done = tinyfin(f"init {tmp_path}/p --board cortex-m4 --run", health, code=3)
    assert "write the C of this pack with `tinyfin codegen`" in done.stderr
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("system", "names"),
    [
        ("make", {"riscv64-unknown-elf-gcc", "cc", "qemu-system-riscv32", "make"}),
        ("cmake", {"riscv64-unknown-elf-gcc", "cc", "qemu-system-riscv32", "make", "cmake"}),
    ],
)
def test_tools_that_are_missing_are_named(
    system: str, names: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project is written all the same: it may be built elsewhere."""
    assert tinyfin_json(f"init {tmp_path}/with --board rv32imc --{system}")["missing"] == {}
    monkeypatch.setattr(shutil, "which", lambda name, *_: None)
    done = tinyfin(f"init {tmp_path}/without --board rv32imc --{system} --json")
    told = json.loads(done.stdout)["missing"]
    assert set(told) == names
    assert all("install" in how for how in told.values())
    assert "warning: cc is not here, and the project needs it; get it with: " in done.stderr
    assert (tmp_path / "without" / "src" / "main.c").is_file()


def test_the_loop_of_a_new_project_serves_the_line_as_the_terminal_does() -> None:
    """What firmware/src/main.c calls, the project's main.c calls, too."""
    mains = [FIRMWARE / "src" / "main.c", FIRMWARE / "examples" / "starter" / "main.c"]
    theirs, ours = (set(re.findall(r"\b(tfin_\w+)\(", path.read_text())) for path in mains)
    assert theirs
    assert theirs <= ours


def test_the_first_template_lines_stay_out_of_the_project(tmp_path: Path) -> None:
    tinyfin(f"init {tmp_path}/p --board cortex-m4 --make")
    table = tomllib.loads((tmp_path / "p" / "hil" / "rig.toml").read_text())
    assert table["rig"]["run"] == "../model.tfpack"
    for name in ("Makefile", "pytest.ini", ".gitignore"):
        first = (tmp_path / "p" / name).read_text().splitlines()[0]
        assert first.strip()
        assert "SPDX" not in first
