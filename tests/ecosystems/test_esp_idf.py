# SPDX-License-Identifier: Apache-2.0
"""The library as an ESP-IDF component, in the two projects of firmware/examples.

ESP-IDF itself is not run: ``esp_idf/`` stands in for its build system and declares what the
examples call. They are compiled for an ESP32-C3's core, and run on this machine.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.ecosystems.conftest import PACK, Score, compile_one, kconfig
from tests.support import sample
from tests.support.process import call, need
from tinyfin import __version__, paths

LIBRARY = paths.firmware_dir() / "lib" / "tinyfin"
EXAMPLES = paths.firmware_dir() / "examples"
STAND_IN = Path(__file__).parent / "esp_idf"
OF_IDF = "esp_driver_uart;esp_hw_support;esp_partition;esp_system;esp_timer;nvs_flash"
C3 = "-march=rv32imc -misa-spec=2.2 -mabi=ilp32"


def copy(name: str, generated: Path, place: Path) -> Path:
    """An example as a project of its own, with what codegen wrote."""
    folder = place / name
    shutil.copytree(EXAMPLES / name, folder)
    shutil.copytree(EXAMPLES / "payment", place / "payment")
    shutil.copytree(generated, folder / "generated")
    return folder


@pytest.fixture
def project(generated: Path, tmp_path: Path) -> Path:
    return copy("esp-idf", generated, tmp_path)


@pytest.fixture
def terminal(generated: Path, tmp_path: Path) -> Path:
    return copy("esp-idf-terminal", generated, tmp_path)


def configure(project: Path, *words: str, code: int | None = 0, **values: str) -> str:
    """Configure; what was said. ``values`` are lines of sdkconfig."""
    config = kconfig(LIBRARY / "Kconfig", project / "config.cmake", **values)
    folder = project / "build"
    said = call(
        *(
            "cmake",
            "-DCMAKE_EXPORT_COMPILE_COMMANDS=1",
            "-S",
            project,
            "-B",
            folder,
            f"-DSDKCONFIG_CMAKE={config}",
            *words,
        ),
        f"-DCOMPONENTS_OF_IDF={OF_IDF}",
        f"-DTINYFIN={paths.project_dir()}",
        env={**os.environ, "IDF_PATH": str(STAND_IN)},
        code=code,
    )
    return said.stdout + said.stderr


def test_the_example_runs(project: Path, score: Score) -> None:
    """First without a pack in the partition, then with it and the state of the first time."""
    configure(project, "-DSTAND_IN_RUNS=1")
    call("cmake", "--build", project / "build", "-j2")
    program, storage = project / "build" / "terminal", project / "nvs"
    empty = project / "empty"
    empty.touch()
    said = call(program, empty, storage).stdout.splitlines()
    assert said[1:] == ["pack: image", "state: cold", score.line(5, 1999), "saved: yes"]
    assert said[0].startswith("pack in the partition: TFIN_E_MAGIC")
    said = call(program, PACK, storage).stdout.splitlines()
    again = score.line(10, 1999)
    assert said == ["pack: partition", "state: restored", again, "saved: yes"]


@pytest.mark.live
def test_the_terminal_replays(terminal: Path) -> None:
    """Over the port every byte is the twin's, before and after a restart."""
    configure(terminal, "-DSTAND_IN_RUNS=1")
    call("cmake", "--build", terminal / "build", "-j2")
    with sample.terminal(terminal / "build" / "terminal", deadline_s=10.0) as client:
        for _ in range(2):
            hello = client.connect()
            assert hello.target == "esp-idf"
            facts = sample.replayed(client, PACK.read_bytes(), limit=400).as_dict()
            assert facts["transactions"] == facts["verdicts"] == 400
            assert facts["mismatches"] == facts["lost"] == 0
            client.reboot()
        assert client.connect().boot_nonce != hello.boot_nonce


@pytest.mark.parametrize("name", ["project", "terminal"])
def test_it_compiles_for_an_esp32_c3(name: str, request: pytest.FixtureRequest) -> None:
    """Against the declarations: linking needs ESP-IDF."""
    need("riscv64-unknown-elf-gcc")
    folder = request.getfixturevalue(name)
    bare, libc = paths.firmware_dir() / "ports" / "include", STAND_IN / "libc"
    configure(
        folder,
        "-DCMAKE_SYSTEM_NAME=Generic",
        "-DCMAKE_C_COMPILER=riscv64-unknown-elf-gcc",
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
        f"-DCMAKE_C_FLAGS={C3} -Os -ffreestanding -fbuiltin -I{bare} -I{libc}",
        CONFIG_TINYFIN_NO_ERROR_TEXT="y",
    )
    # the library once: it is the same in both
    target = [] if name == "project" else ["--target", "__idf_main"]
    call("cmake", "--build", folder / "build", "-j2", *target)
    names = call("riscv64-unknown-elf-nm", *folder.rglob("lib__idf_*.a")).stdout
    assert " T app_main\n" in names
    if name == "project":
        assert " T tfin_open\n" in names
        assert " T crypto_eddsa_check\n" in names
        assert " U tfin_softmax\n" not in names  # the kernels of the pack alone
        assert (
            b"signature does not verify"
            not in next(folder.rglob("lib__idf_tinyfin.a")).read_bytes()
        )


def test_a_release_refuses_the_development_pack(project: Path) -> None:
    configure(project, CONFIG_TINYFIN_RELEASE="y")
    said = compile_one(project / "build", "tinyfin_pack.c")
    assert "no release opens a pack of the development key" in said


def test_a_project_with_its_own_hash_and_signature(project: Path) -> None:
    shutil.rmtree(project / "generated" / "monocypher")
    configure(project, CONFIG_TINYFIN_OWN_CRYPTO="y", CONFIG_TINYFIN_MINIMUM_SECURITY_COUNTER="9")
    commands = (project / "build" / "compile_commands.json").read_text()
    assert "-DTFIN_OWN_CRYPTO" in commands
    assert "monocypher.c" not in commands.replace("tinyfin_port_monocypher.c", "")
    said = compile_one(project / "build", "tinyfin_pack.c")
    assert "this pack is older than the firmware allows" in said


def test_a_folder_without_generated_code_is_named(project: Path) -> None:
    said = configure(project, code=1, CONFIG_TINYFIN_GENERATED='"elsewhere"')
    assert f"there is no {project}/elsewhere/tinyfin_pack.h" in " ".join(said.split())
    assert "tinyfin codegen" in said


def test_a_component_that_is_not_there_is_named(project: Path) -> None:
    """Negative control of the stand-in: it looks at what a component requires."""
    listing = project / "main" / "CMakeLists.txt"
    listing.write_text(listing.read_text().replace("nvs_flash", "nvs_flush"))
    assert "Failed to resolve component 'nvs_flush'" in configure(project, code=1)


def test_the_manifest() -> None:
    facts = yaml.safe_load((LIBRARY / "idf_component.yml").read_text())
    assert facts["version"] == __version__
    assert facts["license"] == "Apache-2.0"
    assert set(facts["dependencies"]) == {"idf"}


def test_the_partition_table_fits_the_pack() -> None:
    """Columns of ESP-IDF: name, type, subtype, offset, size."""
    rows = [
        [cell.strip() for cell in line.split(",")]
        for line in (EXAMPLES / "esp-idf" / "partitions.csv").read_text().splitlines()
        if not line.startswith("#")
    ]
    [pack] = [row for row in rows if row[0] == "tfpack"]
    assert pack[1:3] == ["data", "0x40"]
    size = int(pack[4].removesuffix("K")) * 1024
    assert size % 4096 == 0
    assert size >= PACK.stat().st_size
