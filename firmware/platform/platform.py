# SPDX-License-Identifier: Apache-2.0
"""A PlatformIO development platform over what is on PATH.

PlatformIO fetches SCons, Cppcheck and toolchains as packages of its own registry. Here SCons is the
one that pip installed next to PlatformIO, and a Cppcheck or compiler on PATH is used as it is; a
build needs no network.
PlatformIO's own packages are used where they are already installed, or where PATH has no compiler.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil

from platformio.platform.base import PlatformBase

try:
    from platformio.dependencies import get_core_dependencies  # PlatformIO >= 6.1.17
except ImportError:
    from platformio import __core_packages__

    def get_core_dependencies():
        return __core_packages__


# architecture of the board file: compiler on PATH, PlatformIO's package otherwise
TOOLCHAINS = {
    "arm": ("arm-none-eabi-gcc", "toolchain-gccarmnoneeabi"),
    "riscv": ("riscv64-unknown-elf-gcc", "toolchain-riscv"),
    "xtensa": ("xtensa-lx106-elf-gcc", "toolchain-xtensa"),
}

SCONS_ENTRY = "import sys\n\nimport SCons.Script\n\nsys.exit(SCons.Script.main())\n"


class TinyfinPlatform(PlatformBase):
    def configure_default_packages(self, options, targets):
        if importlib.util.find_spec("SCons"):
            self._provide("tool-scons", {"scons.py": SCONS_ENTRY})
        cppcheck = shutil.which("cppcheck")
        if cppcheck:
            script = f'#!/bin/sh\nexec {shlex.quote(cppcheck)} "$@"\n'
            self._provide("tool-cppcheck", {"cppcheck": script})
        board = options.get("board")
        if board:
            arch = self.board_config(board).get("build.arch")
            compiler, package = TOOLCHAINS[arch]
            if not shutil.which(compiler):
                self.packages[package]["optional"] = False
        return super().configure_default_packages(options, targets)

    def _provide(self, name, files):
        """Answer PlatformIO's request for a tool of its registry with one of this machine."""
        version = get_core_dependencies()[name]  # such as "~4.41101.0"
        self.packages[name].update(version=version)
        if self.pm.get_package(self.get_package_spec(name)):
            return
        folder = os.path.abspath(
            os.path.join(self.config.get("platformio", "workspace_dir"), "shims", name)
        )
        os.makedirs(folder, exist_ok=True)
        package = {"name": name, "version": version.lstrip("~^>="), "system": "*"}
        for file_name, text in {**files, "package.json": json.dumps(package)}.items():
            self._write(os.path.join(folder, file_name), text)
        self.packages[name].update(version="symlink://" + folder, optional=False)

    @staticmethod
    def _write(path, text):
        if os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                if file.read() == text:
                    return
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)
