# SPDX-License-Identifier: Apache-2.0
"""A build links the kernels it names and no others; what is missing is named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.native import LIBRARY, NETWORK
from tests.support.process import call
from tinyfin.codegen.emit import kernel_lines
from tinyfin.errors import ToolError
from tinyfin.formats import KERNEL_NAMES, KERNELS
from tinyfin.targets import build as building

GCC, SIZE, NM = (f"arm-none-eabi-{tool}" for tool in ("gcc", "size", "nm"))
FC_BYTES_MAX = 1536

needs_arm = pytest.mark.skipif(shutil.which(GCC) is None, reason=f"needs {GCC}")


def link(folder: Path, mask: int) -> tuple[int, str]:
    """Code bytes of the network on a Cortex-M4, runtime functions included, and its symbols."""
    image = folder / f"net{mask}.elf"
    command = [GCC, "-mcpu=cortex-m4", "-mthumb", "-Os", "-std=gnu11", "-ffreestanding"]
    command += ["-fbuiltin", "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra"]
    command += ["-Werror", "-nostartfiles", "-nostdlib", "-Wl,--gc-sections,-e,tfin_net_run"]
    command += ["-Wl,-u,tfin_net_check", f"-DTFIN_KERNELS={mask}u", f"-I{LIBRARY / 'include'}"]
    call(*command, *NETWORK, "-lgcc", "-o", image)
    sizes = call(SIZE, "-A", image).stdout
    found = re.findall(r"^\.(?:text|rodata)\s+(\d+)", sizes, re.MULTILINE)
    return sum(int(size) for size in found), call(NM, image).stdout


def test_the_lists_of_kernels_agree() -> None:
    build = (LIBRARY / "include" / "tinyfin_build.h").read_text()
    masks = dict(re.findall(r"TFIN_KERNEL_([A-Z_]+) = (\d+)", build))
    text = (LIBRARY / "src" / "network" / "net_plan.h").read_text()
    opcodes = dict(re.findall(r"TFIN_OP_([A-Z_]+) = (\d+)", text))
    assert {name: int(value) for name, value in masks.items()} == dict(KERNELS.values())
    assert {int(value): name for name, value in opcodes.items()} == {
        code: name for code, (name, _) in KERNELS.items()
    }
    assert tuple(masks) == KERNEL_NAMES


@needs_arm
def test_the_fc_profile_is_small(tmp_path: Path) -> None:
    size, symbols = link(tmp_path, 3)
    assert size <= FC_BYTES_MAX
    for name in ("softmax", "tfin_add", "tfin_mul", "reduce", "rescale", "copy"):
        assert name not in symbols


@needs_arm
@pytest.mark.parametrize("bit", range(2, len(KERNEL_NAMES)))
def test_each_kernel_can_be_linked_alone(tmp_path: Path, bit: int) -> None:
    function = KERNEL_NAMES[bit].lower()
    _, symbols = link(tmp_path, 1 << bit)
    assert f"tfin_{function}" in symbols
    assert "fully_connected" not in symbols.replace("tfin_fc", "")


@needs_arm
def test_no_kernel_at_all(tmp_path: Path) -> None:
    link(tmp_path, 0)


@needs_arm
def test_a_build_names_the_kernels_that_its_profile_lacks(tmp_path: Path) -> None:
    generated = tmp_path / "generated"
    generated.mkdir()
    (generated / "tinyfin_pack.h").write_text("\n".join(kernel_lines(1 | 4 | 64)) + "\n")
    (generated / "tinyfin_pack.c").write_text('#include "tinyfin_pack.h"\n')
    with pytest.raises(ToolError, match=r"profile fc does not link: SOFTMAX, REDUCE"):
        building.build(
            "cortex-m4", generated_dir=generated, kernels="fc", build_dir=tmp_path / "build"
        )
