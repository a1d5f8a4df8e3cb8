# SPDX-License-Identifier: Apache-2.0
"""Code, model and RAM of one network in three runtimes, on a Cortex-M4.

The network has 32 inputs, dense layers of 64 and 32 and one output. tinyfin's figures come from
the link map, those of TFLite Micro from ``reference.json``, emlearn is compiled here.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyfin.errors import ToolError
from tinyfin.optional_packages import require

__all__ = ["emlearn", "sizes"]

GCC = "arm-none-eabi-gcc"
CORE = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
DEADLINE_S = 120
PROGRAM = """\
#include <stdint.h>
%s
volatile float given[32];
volatile int found;
int main(void) {
    float x[32];
    for (int i = 0; i < 32; i++) x[i] = given[i];
    found = %s;
    return 0;
}
"""
TFLM = {"tflm-cmsis-int8only": "TFLite Micro, CMSIS-NN", "tflm-ref": "TFLite Micro, reference"}


def sizes(m4: Mapping[str, Any], reference: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per runtime, in bytes; ``m4`` is what was measured of the target cortex-m4.

    RAM is activations and scratch, for TFLite Micro the arena in use and its static variables.
    Raises ToolError where emlearn, scikit-learn or newlib are not installed.
    """
    own = next(row for row in m4["networks"] if row["network"] == "mlp32_pt")
    rows = [
        {
            "runtime": "tinyfin",
            "weights": "int8",
            "code_bytes": m4["network_code"]["code_bytes"],
            "model_bytes": own["plan_bytes"],
            "ram_bytes": own["scratch_bytes"],
        }
    ]
    for runtime, name in TFLM.items():
        row = next(
            row
            for row in reference["rows"]
            if (row["cpu"], row["runtime"], row["model"]) == ("m4", runtime, "mlp32_pt")
        )
        rows.append(
            {
                "runtime": name,
                "weights": "int8",
                "code_bytes": row["runtime_flash_bytes"],
                "model_bytes": row["model_bytes"],
                "ram_bytes": row["arena_used_bytes"] + row["static_ram_bytes"],
            }
        )
    return [*rows, emlearn()]


def emlearn() -> dict[str, Any]:
    """The same layers by emlearn's inline C, with the core's FPU, compiled with -Os."""
    require(["emlearn", "sklearn"], "for the table of sizes")
    import emlearn as other
    from sklearn.neural_network import MLPClassifier

    generator = np.random.default_rng(1)
    x = generator.normal(size=(400, 32)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = MLPClassifier((64, 32), max_iter=5, random_state=1).fit(x, x[:, 0] > 0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with contextlib.chdir(place):  # it compiles into tmp/ of the current folder
            made = other.convert(net, method="inline")
        made.save(file=str(place / "net.h"), name="net")
        with_net = _sections(place, '#include "net.h"', "net_predict(x, 32)", other.includedir)
        without = _sections(place, "", "(int)x[3]", other.includedir)
    grown = {name: with_net[name] - without.get(name, 0) for name in with_net}
    return {
        "runtime": f"emlearn {other.__version__}",
        "weights": "float",
        "code_bytes": grown[".text"] + grown.get(".ARM.exidx", 0),
        "model_bytes": grown[".rodata"],
        "ram_bytes": grown[".bss"] + grown[".data"],
    }


def _sections(folder: Path, head: str, call: str, include: str) -> dict[str, int]:
    """Bytes of each section of a program around ``call``."""
    source, elf = folder / "main.c", folder / "main.elf"
    source.write_text(PROGRAM % (head, call), encoding="utf-8")
    options = ["-Os", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]
    specs = ["--specs=nano.specs", "--specs=nosys.specs"]
    _call([GCC, *CORE, *options, f"-I{include}", str(source), "-o", str(elf), *specs, "-lm"])
    listing = _call(["arm-none-eabi-size", "-A", str(elf)])
    return {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", listing, re.M)}


def _call(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolError(f"{command[0]} is not installed, the table of sizes needs it") from error
    if done.returncode != 0:
        raise ToolError(f"{command[0]}: {done.stderr.strip()[-400:]}")
    return done.stdout
