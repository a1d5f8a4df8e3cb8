# SPDX-License-Identifier: Apache-2.0
"""What is installed here, what is missing, and how to get it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tinyfin import paths
from tinyfin.errors import TinyfinError, ToolError
from tinyfin.optional_packages import install_command
from tinyfin.targets import catalogue, system
from tinyfin.wire.devices import how_to_be_let_in

__all__ = ["Finding", "examine"]

EXTRAS = ("", "train", "build", "espressif", "onnx", "skops", "dev")
_NEEDED = ("", "train", "build")
_ESPRESSIFS_QEMU = "https://github.com/espressif/qemu/releases; put it before other QEMUs on PATH"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    needed: whether the workflow from transactions to a verified replay on ``cortex-m4`` needs it;
    what is not needed serves other targets, tests or changes to tinyfin itself.
    """

    name: str
    kind: str
    found: bool
    version: str
    needed: bool
    why: str
    get: str

    def as_dict(self) -> dict[str, object]:
        """For ``--json``."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything; runs each program once, with a deadline, to ask its version."""
    return [
        _python(),
        *_packages(),
        _tflite_runtime(),
        _native(),
        _project(),
        *_programs(),
        *_machines(),
        _ports(),
    ]


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding(
        "python",
        "python",
        good,
        platform.python_version(),
        True,
        "runs tinyfin",
        "" if good else "install Python 3.11 or newer",
    )


def _packages() -> list[Finding]:
    findings = []
    for name, extra in _requirements():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        findings.append(
            Finding(
                name,
                f"package of [{extra}]" if extra else "package",
                bool(version),
                version,
                extra in _NEEDED,
                {
                    "": "core",
                    "train": "training and quantizing",
                    "build": "building firmware",
                    "espressif": "images of ESP32 and ESP32-S3, flashing chips of Espressif",
                    "onnx": "models of your own as .onnx",
                    "skops": "estimators of scikit-learn as .skops",
                    "dev": "changing tinyfin",
                }[extra],
                "" if version else install_command(extra),
            )
        )
    return findings


def _tflite_runtime() -> Finding:
    """What ai-edge-litert has followed. It needs numpy 1, so it lives in an environment of its
    own."""
    try:
        version = importlib.metadata.version("tflite-runtime")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    return Finding(
        "tflite-runtime",
        "package",
        bool(version),
        version,
        False,
        "an older interpreter to compare with (quantize --interpreter OLD/bin/python)",
        "" if version else "python3 -m venv OLD && OLD/bin/pip install tflite-runtime 'numpy<2'",
    )


def _requirements() -> list[tuple[str, str]]:
    """Names of the packages tinyfin asks for on this machine, each with its extra."""
    from packaging.requirements import Requirement

    requirements = [Requirement(line) for line in _requirement_lines()]

    def asked(extra: str) -> list[Requirement]:
        return [
            requirement
            for requirement in requirements
            if ((marker := requirement.marker) is None and not extra)
            or (
                marker is not None
                and ("extra" in str(marker)) == bool(extra)
                and marker.evaluate({"extra": extra})
            )
        ]

    found = set()
    for extra in EXTRAS:
        for requirement in asked(extra):
            inner = [one for name in requirement.extras for one in asked(name)]
            own = inner if requirement.name == "tinyfin" else [requirement]
            found |= {(one.name, extra) for one in own}
    return sorted(found, key=lambda row: (EXTRAS.index(row[1]), row[0]))


def _requirement_lines() -> list[str]:
    try:
        return importlib.metadata.requires("tinyfin") or []
    except importlib.metadata.PackageNotFoundError:
        from tinyfin.config.toml import read_toml

        project = read_toml(paths.project_dir() / "pyproject.toml")["project"]
        lines = list(project["dependencies"])
        for extra, requirements in project["optional-dependencies"].items():
            for line in requirements:
                name, _, marker = line.partition(";")
                condition = f"({marker.strip()}) and " if marker else ""
                lines.append(f"{name}; {condition}extra == '{extra}'")
        return lines


def _native() -> Finding:
    found, mend = True, ""
    try:
        importlib.import_module("tinyfin.twin._native")
    except ImportError:
        found, mend = False, "pip install . (needs a C and a C++ compiler)"
    except ToolError as error:
        found, mend = False, str(error)
    return Finding(
        "tinyfin.twin._native",
        "extension",
        found,
        "",
        True,
        "the twin: the engine compiled for this machine",
        mend,
    )


def _project() -> Finding:
    try:
        where = str(paths.project_dir())
    except TinyfinError as error:
        return Finding("firmware", "files", False, "", True, "the firmware's sources", str(error))
    return Finding("firmware", "files", True, where, True, "the firmware's sources", "")


def _ports() -> Finding:
    """Whether this user may open the serial ports that are plugged in."""
    why = "boards: this user may open the serial ports that are plugged in"
    try:
        from serial.tools.list_ports import comports
    except ImportError:
        return Finding("serial ports", "access", False, "", False, why, "pip install tinyfin")
    devices = sorted(port.device for port in comports())
    closed = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    mend = "; ".join(f"{device}: {how_to_be_let_in(device)}" for device in closed)
    found = f"{len(devices) - len(closed)} of {len(devices)}" if devices else "none plugged in"
    return Finding("serial ports", "access", not closed, found, False, why, mend)


def _programs() -> list[Finding]:
    return [
        Finding(
            program.name,
            "program",
            shutil.which(program.name) is not None,
            _version(program.name),
            "demo" in program.goals and program.name not in ("cc", "c++"),
            program.why,
            "" if shutil.which(program.name) else system.install_command([program]),
        )
        for program in system.PROGRAMS
    ]


def _machines() -> list[Finding]:
    """The machines of Espressif's QEMU, one for each target that it runs."""
    found: list[Finding] = []
    try:
        targets = catalogue.load()
    except TinyfinError:  # said by another finding
        return found
    for name, target in targets.items():
        spec = target.emulator
        if spec is None or spec.loads_elf:
            continue
        missing = spec.why_missing()
        found.append(
            Finding(
                f"{spec.command[0]} -M {spec.machine}",
                "machine",
                not missing,
                "" if missing else _version(spec.command[0]),
                False,
                f"runs {name} without a board",
                f"{missing}: {_ESPRESSIFS_QEMU}" if missing else "",
            )
        )
    return found


def _version(program: str) -> str:
    where = shutil.which(program)
    if where is None:
        return ""
    try:
        done = subprocess.run(
            [where, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return f"{Path(where).name} does not answer"
    match = re.search(r"\d+\.\d+(\.\d+)?", done.stdout)
    return match[0] if match else ""
