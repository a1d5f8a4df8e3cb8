# SPDX-License-Identifier: Apache-2.0
"""docs/ecosystems.md, followed in a stranger's folder next to the checkout: the files that it shows
are written, its commands are typed, and the program gives the verdict that the twin gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ecosystems.conftest import PACK, Score
from tests.support.process import call, need
from tinyfin import __version__, paths

ROOT = paths.project_dir()
LIBRARY = paths.firmware_dir() / "lib" / "tinyfin"
PAGE = ROOT / "docs" / "ecosystems.md"
HARDWARE = Path(__file__).parent / "arduino" / "hardware"
DEADLINE_S = 280


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, and the file that the text before it names, or ""."""

    language: str
    file: str
    text: str


def section(title: str) -> list[Block]:
    """The blocks between a heading and the next one."""
    page = PAGE.read_text(encoding="utf-8")
    [body] = re.findall(rf"^#+ {re.escape(title)}\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE)
    found = re.findall(r"((?:[^\n]+\n)*)\n```(\w+)\n(.*?)```", body, re.DOTALL)
    blocks = []
    for before, language, text in found:
        named = re.findall(r"`([\w./-]+)`(?::|; )[^`]*\Z", before, re.DOTALL)
        blocks.append(Block(language, named[-1] if named else "", text))
    return blocks


@dataclass(frozen=True)
class Stranger:
    """The folder ``pos`` next to a checkout of tinyfin."""

    folder: Path

    def write(self, title: str) -> list[str]:
        """The files of a section are written; gives its commands."""
        commands = []
        for block in section(title):
            if block.language == "sh":
                commands += block.text.splitlines()
            elif block.file:
                path = self.folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
        return commands

    def type(self, *lines: str, code: int | None = 0) -> str:
        """Lines in a shell that stops at the first error; what the last one wrote."""
        programs = Path(sys.executable).parent
        env = {k: v for k, v in os.environ.items() if not k.startswith("TINYFIN")}
        env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
        said = ""
        for line in lines:
            line = line.replace("RUN", str(PACK))
            done = call(
                *("sh", "-euc", line),
                cwd=self.folder,
                env=env,
                deadline_s=DEADLINE_S,
                code=code,
                stderr=subprocess.STDOUT,
                stdout=subprocess.PIPE,
                capture_output=False,
            )
            said = done.stdout
        return said


@pytest.fixture
def stranger(tmp_path: Path, generated: Path) -> Stranger:
    """The folder with what "First" gives every project."""
    folder = tmp_path / "pos"
    folder.mkdir()
    (tmp_path / "tinyfin").symlink_to(ROOT)
    shutil.copytree(generated, folder / "generated")
    made = Stranger(folder)
    *_, application = made.write("First: the pack as C")
    made.type(application)
    return made


@pytest.fixture
def wanted(score: Score) -> str:
    return score.line(5, 1999)


def test_the_pack_as_c(stranger: Stranger, generated: Path) -> None:
    shutil.rmtree(stranger.folder / "generated")
    stranger.type(*stranger.write("First: the pack as C"))
    made = {
        p.name: p.read_bytes() for p in (stranger.folder / "generated").iterdir() if p.is_file()
    }
    assert made
    assert made == {p.name: p.read_bytes() for p in generated.iterdir() if p.is_file()}


def test_platformio(stranger: Stranger, wanted: str) -> None:
    run, program, *copy = stranger.write("PlatformIO")
    assert stranger.type(run, program) == f"{wanted}\n"
    # the link in the user's folder would be the first checkout's for every project
    assert (stranger.folder / ".pio" / "platforms").is_dir()
    stranger.type(*copy)
    settings = stranger.folder / "platformio.ini"
    kept = [line for line in settings.read_text().splitlines() if not line.startswith("lib_deps")]
    settings.write_text("\n".join(kept))
    assert f"|-- tinyfin @ {__version__}" in stranger.type(f"{run} -t compiledb")
    commands = (stranger.folder / "compile_commands.json").read_text()
    assert '"file": "lib/tinyfin/src/engine.c"' in commands


def test_platformio_takes_an_archive_and_a_repository(stranger: Stranger) -> None:
    """The archive that Arduino's IDE takes; of the repository the folder with the library alone."""
    *_, archive, _, _ = stranger.write("PlatformIO")
    stranger.type(archive)
    settings = stranger.folder / "platformio.ini"
    text = settings.read_text()
    for source in (f"file://{stranger.folder}/tinyfin.zip", f"git+file://{ROOT}"):
        settings.write_text(re.sub("(?<=lib_deps = ).*", source, text))
        stranger.type("rm -rf .pio/libdeps", "pio pkg install")
        library = stranger.folder / ".pio" / "libdeps" / "pos" / "tinyfin"
        assert (library / "src" / "engine.c").is_file()
        assert (library / "library.properties").is_file()


def test_cmake_with_a_folder(stranger: Stranger, wanted: str) -> None:
    assert stranger.type(*stranger.write("As a folder")) == f"{wanted}\n"
    names = call("nm", stranger.folder / "build" / "pos").stdout
    assert not re.search(r"tfin_\w*softmax", names)  # the kernels of the pack alone


def test_cmake_for_a_core(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    need("arm-none-eabi-gcc")
    stranger.write("As a folder")
    [flags] = re.findall(r"Without a C library add `([^`]+)`", PAGE.read_text())
    monkeypatch.setenv("CFLAGS", flags.replace("$PWD", str(stranger.folder)))
    stranger.type(*stranger.write("For a core"))
    [library] = stranger.folder.rglob("libtinyfin.a")
    assert "v7E-M" in call("arm-none-eabi-readelf", "-A", library).stdout


def test_cmake_names_a_folder_without_generated_code(stranger: Stranger) -> None:
    configure, *_ = stranger.write("As a folder")
    (stranger.folder / "generated" / "tinyfin_pack.h").unlink()
    said = " ".join(stranger.type(configure, code=1).split())
    assert f"there is no {stranger.folder}/generated/tinyfin_pack.h" in said
    assert "tinyfin codegen RUN" in said


def test_cmake_with_fetchcontent_for_cpp(stranger: Stranger) -> None:
    commands = stranger.write("With FetchContent, for C++")
    assert stranger.type(*commands) == "check 0\n"


def test_cmake_with_an_installed_package(stranger: Stranger, wanted: str) -> None:
    *install, configure, build, program = stranger.write("As an installed package")
    stranger.type(*install)
    shutil.move(stranger.folder / "generated", stranger.folder / "not_needed_now")
    assert stranger.type(configure, build, program) == f"{wanted}\n"
    listing = stranger.folder / "CMakeLists.txt"
    text = listing.read_text()
    assert "tinyfin 0.2 " in text
    for other in ("0.1", "0.3", "1.0"):
        listing.write_text(text.replace("tinyfin 0.2 ", f"tinyfin {other} "))
        again = configure.replace("-B build", f"-B build-{other}")
        assert "compatible with requested version" in " ".join(stranger.type(again, code=1).split())
    listing.write_text(text)
    need("arm-none-eabi-gcc")
    cross = (
        " -DCMAKE_SYSTEM_NAME=Generic -DCMAKE_C_COMPILER=arm-none-eabi-gcc"
        " -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"
    )
    again = configure.replace("-B build", "-B build-arm") + cross
    assert f"version: {__version__} (64bit)" in " ".join(stranger.type(again, code=1).split())


def test_make(stranger: Stranger, wanted: str) -> None:
    assert stranger.type(*stranger.write("make")) == f"{wanted}\n"


def test_arduino(stranger: Stranger, score: Score) -> None:
    """By Arduino's own builder, whose rules say what is compiled and which headers are found."""
    need("arduino-builder")
    stranger.type(*stranger.write("Arduino"))
    book, built = stranger.folder / "sketchbook", stranger.folder / "built"
    built.mkdir()

    def sketch(code: int) -> str:
        return stranger.type(
            f"arduino-builder -hardware {HARDWARE} -tools {HARDWARE} -libraries {book}/libraries "
            f"-fqbn stand_in:host:host -build-path {built} {book}/terminal/terminal.ino",
            code=code,
        )

    sketch(0)
    program = built / "terminal.ino.elf"
    said = call(program, stdin=None, input="1999\n5\n").stdout.splitlines()
    lines = [score.line(5, minor) for minor in (1999, 5)]
    assert said == ["ready", *lines]
    shutil.rmtree(book / "libraries" / "monocypher")
    assert "monocypher.h: No such file" in sketch(1)


def test_what_arduino_reads_of_the_library() -> None:
    lines = (LIBRARY / "library.properties").read_text().splitlines()
    facts = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    wanted = "name version author maintainer sentence paragraph category url architectures"
    assert set(wanted.split()) <= set(facts)
    assert facts["version"] == __version__
    public = {path.name for path in (LIBRARY / "include").iterdir()}
    assert facts["includes"] in public
    for name in public:
        text = (LIBRARY / "src" / name).read_text()
        assert re.findall("#include (.*)", text) == [f'"../include/{name}"']


def missing(description: Path) -> list[str]:
    """What a description of a CMSIS-Pack names, or leaves out, that is not so."""
    tree = ElementTree.parse(description).getroot()
    folder = description.parent
    named = [file.attrib["name"] for file in tree.iter("file")]
    found = [f"no file {name}" for name in named if not (folder / name).exists()]
    listed = {folder / name for name in named}
    for path in sorted([*(folder / "src").rglob("*.c"), *(folder / "include").glob("*.h")]):
        if path not in listed:
            found.append(f"left out {path.relative_to(folder)}")
    defined = [condition.attrib["id"] for condition in tree.iter("condition")]
    used = {element.attrib["condition"] for element in tree.iter() if "condition" in element.attrib}
    found += [f"no condition {name}" for name in used - set(defined)]
    found += [f"unused condition {name}" for name in set(defined) - used]
    vendor, name = (tree.findtext(tag) for tag in ("vendor", "name"))
    if description.name != f"{vendor}.{name}.pdsc":
        found.append(f"named {description.name}")
    versions = {release.attrib["version"] for release in tree.iter("release")}
    versions |= {component.attrib["Cversion"] for component in tree.iter("component")}
    if versions != {__version__}:
        found.append(f"versions {versions}")
    return found


def test_cmsis_pack(stranger: Stranger) -> None:
    stranger.type(*stranger.write("CMSIS-Pack"))
    [pack] = stranger.folder.glob("*.pack")
    unpacked = stranger.folder / "unpacked"
    with zipfile.ZipFile(pack) as archive:
        archive.extractall(unpacked)
    [description] = unpacked.glob("*.pdsc")
    assert pack.name == f"{description.stem}.{__version__}.pack"
    assert missing(description) == []


def test_a_wrong_cmsis_pack_is_noticed(tmp_path: Path) -> None:
    """Negative control: each fault in a copy is named."""
    shutil.copytree(LIBRARY, tmp_path / "tinyfin")
    description = tmp_path / "tinyfin" / "tinyfin.tinyfin.pdsc"
    text = description.read_text()
    for old, new, wanted in (
        ("src/crc32.c", "src/crc64.c", ["no file src/crc64.c", "left out src/crc32.c"]),
        ('condition="Core"', 'condition="Kern"', ["no condition Kern", "unused condition Core"]),
        ("<name>tinyfin", "<name>other", ["named tinyfin.tinyfin.pdsc"]),
    ):
        assert old in text
        description.write_text(text.replace(old, new))
        assert missing(description) == wanted


def test_every_block_of_the_page_is_used() -> None:
    """What a section shows is recognised: no test writes fewer files than the section has."""
    text = PAGE.read_text(encoding="utf-8")
    titles = re.findall(r"^##+ (.*)$", text, re.MULTILINE)
    blocks = [block for title in titles for block in section(title)]
    assert len(blocks) == text.count("```") // 2
    unnamed = [block.language for block in blocks if not block.file and block.language != "sh"]
    assert unnamed == ["yaml"]  # a manifest of west
