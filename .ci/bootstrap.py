# SPDX-License-Identifier: Apache-2.0
"""Install the system packages that a make goal needs and that are missing, saying what and why.

    python3 .ci/bootstrap.py GOAL        demo, test, bench or fuzz

Without the right to install it prints the command to run and ends with exit code 6. Needs only the
standard library of the Python that will make the virtual environment.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INSTALL_DEADLINE_S = 1800


def load_system():
    """tinyfin/targets/system.py without importing tinyfin, whose packages may not be here yet."""
    spec = importlib.util.spec_from_file_location(
        "tinyfin_system", ROOT / "tinyfin" / "targets" / "system.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def lacking_python(system):
    """Parts of Python that distributions package apart."""
    found = []
    apt = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if importlib.util.find_spec("ensurepip") is None:
        found.append(
            system.Program("venv", "makes .venv", frozenset(), f"{apt}-venv", "python3", "python")
        )
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        found.append(
            system.Program(
                "Python.h", "compiles the twin", frozenset(), f"{apt}-dev", "python3-devel", ""
            )
        )
    return found


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    goal = sys.argv[1]
    if sys.version_info < (3, 11):  # noqa: UP036  runs before anything is installed
        print(
            f"error: {sys.executable} is Python {sys.version.split()[0]}; tinyfin needs 3.11 or "
            "newer: make PYTHON=python3.11 " + goal,
            file=sys.stderr,
        )
        return 6
    system = load_system()
    lacking = [*lacking_python(system), *system.missing(goal)]
    if not lacking:
        return 0
    print(f"make {goal} needs programs that are not here:", file=sys.stderr)
    for program in lacking:
        print(f"  {program.name}: {program.why}", file=sys.stderr)
    command = system.install_command(lacking)
    root = os.geteuid() == 0
    # sudo -n: never ask for a password from inside make
    sudo = [] if root else ["sudo", "-n"]
    can = root or (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0
    )
    if system.package_manager() != "apt-get" or not can:
        print(f"install them, then run make {goal} again:\n  {command}", file=sys.stderr)
        return 6
    packages = sorted({word for program in lacking for word in program.apt.split()})
    print(f"installing with: {command}", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    steps = [
        [*sudo, "apt-get", "update", "-q"],
        [*sudo, "apt-get", "install", "-q", "-y", "--no-install-recommends", *packages],
    ]
    for step in steps:
        try:
            done = subprocess.run(
                step,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                timeout=INSTALL_DEADLINE_S,
            )
        except subprocess.TimeoutExpired:
            print(f"error: {' '.join(step)} did not end", file=sys.stderr)
            return 6
        if done.returncode != 0:
            print(f"error: {' '.join(step)} failed; run it by hand:\n  {command}", file=sys.stderr)
            return 6
    return 0


if __name__ == "__main__":
    sys.exit(main())
