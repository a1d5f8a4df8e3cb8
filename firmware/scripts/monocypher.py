# SPDX-License-Identifier: Apache-2.0
"""Obtain Monocypher's two C files from the source distribution of pymonocypher.

The workstation signs with pymonocypher; the firmware verifies with the C that the same, hash-pinned
distribution carries. It is fetched once through pip, checked, kept in a cache folder and never
committed. Where there is no network, point TINYFIN_MONOCYPHER at a folder that holds both files.

Needs only the standard library: PlatformIO runs it as a script before a build (`pio run`), and
tinyfin.codegen loads `obtain` from here.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "4.0.3.4"
SDIST_SHA256 = "5e56e3d3eb770a53e0b9f6274146663c11a11f3d0de5cd48e3be0428d1b07a4a"
FILES_SHA256 = {
    "monocypher.c": "57eb914fc88136119bd41655cccb8c250048bf54d470540625186f8ab16f64be",
    "monocypher.h": "c494da712122da7ff679fdcf318a5317e84972b6c950fe9d896212947797facd",
}
DEFINES = ("BLAKE2_NO_UNROLLING",)
FETCH_DEADLINE_S = 300


class MonocypherError(Exception):
    """The files are not to be had; the message says what to do."""


def obtain(cache, python=sys.executable):
    """Return a folder with monocypher.c and monocypher.h, verified; fetch them at the first call.

    cache: folder to keep them in. python: an interpreter with pip, used only to fetch.
    Raises MonocypherError.
    """
    given = os.environ.get("TINYFIN_MONOCYPHER")
    if given:
        wrong = _wrong(Path(given))
        if wrong:
            raise MonocypherError(
                f"TINYFIN_MONOCYPHER={given}: {wrong}; it has to hold the files of "
                f"pymonocypher {VERSION}"
            )
        return Path(given)
    folder = Path(cache) / f"monocypher-{VERSION}"
    if _wrong(folder):
        _fetch(folder, python)
    return folder


def _wrong(folder):
    """What is wrong with the folder's files, or None."""
    for name, expected in FILES_SHA256.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            return f"{name} has SHA-256 {found}, not {expected}"
    return None


def _fetch(folder, python):
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        work = Path(temporary)
        wanted = work / "requirements.txt"
        wanted.write_text(f"pymonocypher=={VERSION} --hash=sha256:{SDIST_SHA256}\n")
        command = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-input", "--no-deps", "--no-binary", "pymonocypher", "--require-hashes"]
        command += ["--dest", str(work), "-r", str(wanted)]
        how = (
            f"pymonocypher {VERSION} (source distribution) is fetched once with pip; check the "
            "network and pip's settings, or put its monocypher.c and monocypher.h in a folder and "
            "set TINYFIN_MONOCYPHER to it"
        )
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=FETCH_DEADLINE_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MonocypherError(f"Monocypher: {error}; {how}") from error
        archive = work / f"pymonocypher-{VERSION}.tar.gz"
        if done.returncode != 0 or not archive.is_file():
            tail = "\n".join(done.stdout.strip().splitlines()[-5:])
            raise MonocypherError(f"Monocypher: pip failed:\n{tail}\n{how}")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != SDIST_SHA256:
            raise MonocypherError(f"Monocypher: {archive.name} has SHA-256 {found}; {how}")
        ready = work / "ready"
        ready.mkdir()
        with tarfile.open(archive) as tar:
            for name in FILES_SHA256:
                member = tar.extractfile(f"pymonocypher-{VERSION}/{name}")
                (ready / name).write_bytes(member.read())
        wrong = _wrong(ready)
        if wrong:
            raise MonocypherError(f"Monocypher: {wrong}; {how}")
        if folder.exists() and _wrong(folder):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            ready.rename(folder)
        except OSError:
            if _wrong(folder):  # another build may have put it there meanwhile
                raise


def _platformio(env):
    if env.IsCleanTarget():
        return
    root = env.subst("$PROJECT_DIR")
    cache = os.environ.get("TINYFIN_CACHE") or os.path.join(root, ".pio", "tinyfin")
    try:
        folder = str(obtain(cache, env.subst("$PYTHONEXE")))
    except MonocypherError as error:
        sys.stderr.write(f"error: {error}\n")
        env.Exit(1)
    env.Append(CPPPATH=[folder], CPPDEFINES=list(DEFINES))
    # third-party source: its warnings are not ours to fix
    env.AddBuildMiddleware(
        lambda env, node: env.Object(node, CFLAGS=["-std=gnu11", "-w"]), "*monocypher.c"
    )
    env.BuildSources(os.path.join("$BUILD_DIR", "monocypher"), folder, "+<monocypher.c>")


if "Import" in globals():
    Import("env")  # noqa: F821
    _platformio(env)  # noqa: F821
