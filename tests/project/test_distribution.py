# SPDX-License-Identifier: Apache-2.0
"""The distributions are whole, reproducible, and work in a clean environment."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.support import process

ROOT = Path(__file__).resolve().parents[2]
# the pinned tools of this environment, and no optimisation: the same steps as a user's, but quicker
QUICK = ["--no-isolation", "-C", "cmake.build-type=Debug"]
DATED = {
    "SOURCE_DATE_EPOCH": "1700000000",
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def call(*command: object, env: dict[str, str] | None = None, **how: Any) -> CompletedProcess[str]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TINYFIN"))}
    return process.call(*command, deadline_s=280, env={**plain, **(env or {})}, **how)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone holds, without what this folder has gathered."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so the files of a clone are not known")
    listed = call(
        "git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"
    ).stdout.split("\0")
    place = tmp_path_factory.mktemp("clone")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    return place


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dist/ with the sdist, and the wheel that was compiled from what the sdist unpacks to."""
    dist = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "-q", *QUICK, "-o", dist, checkout, env=DATED)
    return dist


def test_the_sdist_carries_the_engine_and_the_wheel_every_module(
    checkout: Path, built: Path
) -> None:
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    with tarfile.open(sdist) as tar:
        in_sdist = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())

    def files(pattern: str, *folders: str) -> set[str]:
        return {
            str(path.relative_to(checkout)) for path in checkout.joinpath(*folders).rglob(pattern)
        }

    assert files("*.[ch]", "firmware", "lib", "tinyfin") <= in_sdist
    assert {"LICENSE", "platformio.ini", "tinyfin/twin/native.cpp"} <= in_sdist
    modules = files("*.py", "tinyfin")
    assert modules
    assert not modules - in_sdist
    assert not modules - in_wheel
    templates = files("*", "tinyfin", "starter", "templates")
    templates = {name for name in templates if (checkout / name).is_file()}
    assert len(templates) > 10
    assert not templates - in_sdist
    assert not templates - in_wheel
    assert "tinyfin/_project/firmware/examples/starter/main.c" in in_wheel
    assert "tinyfin/_project/firmware/tflm/tinyfin_tflm.cpp" in in_wheel


def test_two_builds_in_two_folders_are_the_same_bytes(
    checkout: Path, built: Path, tmp_path: Path
) -> None:
    other = tmp_path / "a folder with a longer name than the first" / "project"
    shutil.copytree(checkout, other)
    for path in other.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o077)  # as cloned with another umask
    dist = tmp_path / "dist"
    call(sys.executable, "-m", "build", "-q", *QUICK, "-o", dist, other, env=DATED)
    first, second = ({p.name: p.read_bytes() for p in d.iterdir()} for d in (built, dist))
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.timeout(600)
def test_the_installed_wheel_builds_firmware(checkout: Path, built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    clean = tmp_path / "venv"
    call(sys.executable, "-m", "venv", clean)
    pip = [clean / "bin" / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    call(*pip, "click", "numpy")
    call(*pip, "--no-deps", wheel)
    engine = {
        str(path.relative_to(checkout))
        for path in (checkout / "firmware" / "lib" / "tinyfin").rglob("*.[ch]")
    }

    tinyfin = clean / "bin" / "tinyfin"
    rows = json.loads(call(tinyfin, "targets", "--json", cwd=tmp_path).stdout)["targets"]
    assert "cortex-m4" in {row["name"] for row in rows}
    where = call(
        clean / "bin" / "python",
        "-c",
        "import tinyfin.twin._native\nfrom tinyfin import paths\nprint(paths.project_dir())",
        cwd=tmp_path,
    ).stdout.strip()
    assert where.startswith(str(clean))
    assert {str(p.relative_to(where)) for p in Path(where).rglob("*.[ch]")} >= engine

    # PlatformIO and compilers of this environment, everything else from the installed package
    program = (
        "import sys\nfrom pathlib import Path\nfrom tinyfin.targets.build import build\n"
        "result = build('cortex-m4', pack='none', app=Path(sys.argv[1]))\nprint(result.elf)\n"
    )
    site = Path(where).parents[1]
    cache = tmp_path / "cache"
    cache.mkdir()
    kept = ROOT / ".pio" / "tinyfin"
    for folder in kept.glob("monocypher-*"):
        shutil.copytree(folder, cache / folder.name)
    elf = call(
        sys.executable,
        "-c",
        program,
        ROOT / "tests" / "targets" / "boot",
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "TINYFIN_CACHE": str(cache)},
    ).stdout.strip()
    assert elf.startswith(str(cache))
    assert Path(elf).is_file()


def test_no_file_names_a_package_index() -> None:
    words = [a + b for a, b in (("index", "-url"), ("index", "_url"), ("pypi", ".org"))]
    words += [a + b for a, b in (("pythonhosted", ".org"), ("find", "-links"), ("/sim", "ple/"))]
    done = call("git", "-C", ROOT, "ls-files", "-z")
    found = []
    for name in filter(None, done.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file() or path.suffix in {".png", ".parquet", ".tflite", ".tfpack"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace").lower()
        found += [f"{name}: {word}" for word in words if word in text]
    assert not found
