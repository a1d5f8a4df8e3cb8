# SPDX-License-Identifier: Apache-2.0
"""Each Cortex-M family's own kernel gives TFLM's bytes, on the emulated core itself."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.network.native import ANCHOR_NAMES, ANCHORS, LIBRARY, ROOT, SOURCES, Native, tflm
from tests.network.test_random_shapes import random_graph, random_inputs
from tinyfin.pack.plan import compile_plan
from tinyfin.quantize.tflite_model import load

LINKER_SCRIPT = """
MEMORY { ROM (rx) : ORIGIN = 0, LENGTH = 4M
 RAM (rw) : ORIGIN = 0x20000000, LENGTH = 4M }
stack_top = 0x20400000;
ENTRY(reset)
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > ROM
  .ARM.exidx : { *(.ARM.exidx*) } > ROM
  .bss (NOLOAD) : { *(.bss*) *(COMMON) } > RAM
}
"""

#: core, QEMU machine; ARMv6-M code runs on the Cortex-M4 too
CORES = (
    ("cortex-m0", "mps2-an386"),
    ("cortex-m3", "mps2-an385"),
    ("cortex-m4", "mps2-an386"),
    ("cortex-m7", "mps2-an500"),
)

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None or shutil.which("qemu-system-arm") is None,
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)


def _array(ctype: str, name: str, values: Iterable[Any]) -> str:
    body = ",".join(str(int(v)) for v in values)
    return f"static const {ctype} {name}[] __attribute__((aligned(16))) = {{{body}}};\n"


def _case(
    number: int,
    plan: bytes,
    x: NDArray[np.int8],
    y: NDArray[np.int8],
    accumulators: NDArray[np.int32] | None,
) -> tuple[str, str]:
    text = _array("uint8_t", f"plan{number}", plan)
    text += _array("int8_t", f"x{number}", x.ravel())
    text += _array("int8_t", f"y{number}", y.ravel())
    kept = "NULL"
    if accumulators is not None:
        kept = f"acc{number}"
        text += _array("int32_t", kept, accumulators.ravel())
    row = f"{{plan{number}, sizeof plan{number}, x{number}, y{number}, {kept}, {len(x)}}}"
    return text, row


@pytest.fixture(scope="module")
def cases(net: Native, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net_cases.h: 40 random models (half of them keep accumulators) and the anchors."""
    made = []
    for seed in range(1000, 1040):
        rng = np.random.default_rng(seed)
        model = random_graph(rng, layers=1 + seed % 3).build()
        parsed = load(model)
        x = random_inputs(rng, 6, parsed.input_tensor.size)
        kept = None
        if seed % 2:
            plan = compile_plan(parsed, accumulators=True)
            kept = np.asarray(net.run(plan, x, accumulators=True), np.int32)
        else:
            plan = compile_plan(parsed)
        made.append(_case(len(made), plan, x, tflm(model, x), kept))
    for name in ANCHOR_NAMES if ANCHORS.is_dir() else ():
        x = np.load(ANCHORS / f"{name}_in.npy")
        y = np.load(ANCHORS / f"{name}_out_double.npy").reshape(len(x), -1)
        rows = [0, -1, -2] if name.startswith("ad01") else [*range(60), -2, -1]
        plan = compile_plan(load(ANCHORS / f"{name}.tflite"))
        made.append(_case(len(made), plan, x[rows], y[rows], None))
    folder = tmp_path_factory.mktemp("cases")
    table = ",\n".join(row for _, row in made)
    text = "".join(part for part, _ in made)
    (folder / "net_cases.h").write_text(f"{text}static const net_case cases[] = {{\n{table}\n}};\n")
    (folder / "linker.ld").write_text(LINKER_SCRIPT)
    return folder


def _run(
    cases: Path, folder: Path, core: str, machine: str, *defines: str
) -> subprocess.CompletedProcess[str]:
    image = folder / "net.elf"
    build = ["arm-none-eabi-gcc", f"-mcpu={core}", "-mthumb", "-Os", "-std=gnu99", "-Wall"]
    build += [
        "-Wextra",
        "-Werror",
        "-ffreestanding",
        "-nostartfiles",
        "-T",
        str(cases / "linker.ld"),
    ]
    build += [f"-I{LIBRARY / 'include'}", f"-I{LIBRARY / 'src'}", f"-I{cases}"]
    build += [f"-D{d}" for d in defines]
    build += [str(ROOT / "firmware" / "test" / "net_on_target.c")]
    build += [str(LIBRARY / "src" / s) for s in SOURCES]
    subprocess.run([*build, "-o", str(image)], check=True, timeout=120)
    emulate = ["qemu-system-arm", "-M", machine, "-display", "none", "-monitor", "none"]
    emulate += ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
    return subprocess.run(
        [*emulate, "-kernel", str(image)], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(("core", "machine"), CORES)
def test_every_byte_on_the_core(cases: Path, tmp_path: Path, core: str, machine: str) -> None:
    done = _run(cases, tmp_path, core, machine)
    report = done.stdout + done.stderr
    assert "differing 0" in report, report
    assert done.returncode == 0


@pytest.mark.parametrize(("core", "machine"), [CORES[1], CORES[2]])
def test_a_sabotaged_kernel_is_caught(cases: Path, tmp_path: Path, core: str, machine: str) -> None:
    done = _run(cases, tmp_path, core, machine, "TFIN_TEST_SINGLE_ROUNDING")
    assert done.returncode == 1
    assert "differs" in done.stdout + done.stderr


def test_longer_rounds_give_the_same_bytes(cases: Path, tmp_path: Path) -> None:
    done = _run(cases, tmp_path, "cortex-m4", "mps2-an386", "TFIN_DSP_BLOCKS_LOG2=2")
    assert done.returncode == 0, done.stdout + done.stderr
