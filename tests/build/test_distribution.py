# SPDX-License-Identifier: Apache-2.0
"""The source distribution installs in a clean environment and carries the whole engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def call(*command: str | Path, **extra: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TINYFIN"))}
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        env={**environment, **extra.pop("env", {})},  # type: ignore[dict-item]
        **extra,  # type: ignore[call-overload]
    )
    assert done.returncode == extra.get("code", 0), f"{command}: {done.stdout}{done.stderr}"
    return done


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


@pytest.mark.timeout(600)
def test_the_sdist_installs_and_builds_firmware(checkout: Path, tmp_path: Path) -> None:
    dist = tmp_path / "dist"
    call(sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", dist, checkout)
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    engine = {
        str(path.relative_to(checkout))
        for path in (checkout / "firmware" / "lib" / "tinyfin").rglob("*.[ch]")
    }
    assert engine <= names
    assert {"LICENSE", "platformio.ini", "tinyfin/twin/native.cpp"} <= names

    clean = tmp_path / "venv"
    call(sys.executable, "-m", "venv", clean)
    pip = [clean / "bin" / "python", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    # no isolation, and no optimisation: the same steps as a user's `pip install`, but quicker
    call(*pip, "click", "numpy", "scikit-build-core", "nanobind")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quick = ["--no-deps", "--no-build-isolation", "-C", "cmake.build-type=Debug"]
    call(*pip, *quick, sdist, env={"PATH": path})

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
        ROOT / "tests" / "build" / "boot",
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
