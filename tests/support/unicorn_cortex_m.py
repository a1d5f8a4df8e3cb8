# SPDX-License-Identifier: Apache-2.0
"""A Cortex-M core for :mod:`tests.support.unicorn_machine`: exception entry and return, NVIC,
SysTick. From the "Armv7-M Architecture Reference Manual", B1.5, B3.2 to B3.4."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.unicorn_machine import Device, Machine, Registers

unicorn = pytest.importorskip("unicorn")
from unicorn import arm_const as reg  # noqa: E402  after the skip

THREAD_MAIN = 0xFFFF_FFF9
"""What LR holds in a handler: back to the main stack, no handler below."""
EXCEPTION_EXIT = 8
"""Unicorn's number of a branch to such an address."""
PUSHED = (
    reg.UC_ARM_REG_R0,
    reg.UC_ARM_REG_R1,
    reg.UC_ARM_REG_R2,
    reg.UC_ARM_REG_R3,
    reg.UC_ARM_REG_R12,
    reg.UC_ARM_REG_LR,
)
IT_BITS = 0x0600_FC00
ALIGNED = 1 << 9
THUMB = 1 << 24

SYST_CSR, SYST_RVR, SYST_CVR, ISER, ICER = 0x10, 0x14, 0x18, 0x100, 0x180
VTOR, AIRCR, CPACR = 0xD08, 0xD0C, 0xD88
RESET_REQUEST = 0x05FA_0004


class SystemControl(Registers):
    """The core's own registers: SysTick counts instructions, NVIC enables, VTOR, AIRCR resets."""

    machine: Machine

    def __init__(self, systick: bool = True) -> None:
        super().__init__(0xE000_E000, 0x1000)
        self.systick = systick
        self._cleared_at = 0
        self.on_write[AIRCR] = lambda value: (
            self.machine.ask_reset() if value == RESET_REQUEST else None
        )

    def read(self, offset: int) -> int:
        if offset == SYST_CVR and self.systick and self.values.get(SYST_CSR, 0) & 5 == 5:
            passed = self.machine.instructions - self._cleared_at
            return -passed % (self.values.get(SYST_RVR, 0) + 1)
        return super().read(offset)

    def write(self, offset: int, value: int) -> None:
        if offset == SYST_CVR:
            self._cleared_at, value = self.machine.instructions, 0
        elif ISER <= offset < ISER + 0x20:
            value |= self.values.get(offset, 0)
        elif ICER <= offset < ICER + 0x20:
            self.values[offset - ICER + ISER] = self.values.get(offset - ICER + ISER, 0) & ~value
        super().write(offset, value)

    def enabled(self, interrupt: int) -> bool:
        """Whether the NVIC lets it through."""
        return bool(self.values.get(ISER + interrupt // 32 * 4, 0) >> interrupt % 32 & 1)


class CortexM:
    """``model``: unicorn's number of the core. A reset also resets ``devices``."""

    architecture = unicorn.UC_ARCH_ARM
    mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
    pc = reg.UC_ARM_REG_PC

    def __init__(self, model: str, control: SystemControl, devices: Sequence[Device] = ()) -> None:
        self.model = getattr(unicorn.arm_const, f"UC_CPU_ARM_CORTEX_{model}")
        self.control = control
        self.devices = [control, *devices]
        self._initial = [dict(getattr(device, "values", {})) for device in self.devices]

    def start(self, uc: Any, address: int) -> None:
        """From the vector table at ``address``."""
        for device, values in zip(self.devices, self._initial, strict=True):
            device.values = dict(values)  # type: ignore[attr-defined]  # of Registers
        self.control.values[VTOR] = address
        stack, entry = struct.unpack("<2I", uc.mem_read(address, 8))
        self.jump(uc, stack, entry)

    def jump(self, uc: Any, stack: int, entry: int) -> None:
        """To ``entry`` in thread mode, interrupts on, as after a reset."""
        assert entry & 1, "a vector is the address of Thumb code"
        uc.reg_write(reg.UC_ARM_REG_XPSR, THUMB)
        uc.reg_write(reg.UC_ARM_REG_PRIMASK, 0)
        uc.reg_write(reg.UC_ARM_REG_FAULTMASK, 0)
        uc.reg_write(reg.UC_ARM_REG_SP, stack)
        uc.reg_write(reg.UC_ARM_REG_LR, 0xFFFF_FFFF)
        uc.reg_write(reg.UC_ARM_REG_PC, entry)

    def call(self, machine: Machine, address: int, *arguments: int) -> int:
        """What a function of the guest answers, called while the guest is between two
        instructions of its own program."""
        uc, kept = machine.uc, machine.uc.context_save()
        back = self.control.values[VTOR]  # the vectors are never executed
        self.jump(uc, (uc.reg_read(reg.UC_ARM_REG_SP) & ~7) - 64, address | 1)
        uc.reg_write(reg.UC_ARM_REG_LR, back | 1)
        for number, value in enumerate(arguments):
            uc.reg_write(reg.UC_ARM_REG_R0 + number, value)
        while uc.reg_read(reg.UC_ARM_REG_PC) != back:
            machine.run(until=back)
        answer = int(uc.reg_read(reg.UC_ARM_REG_R0))
        uc.context_restore(kept)
        return answer

    def resume_at(self, uc: Any) -> int:
        return int(uc.reg_read(reg.UC_ARM_REG_PC)) | 1

    def ready(self, uc: Any, line: int) -> bool:
        status = uc.reg_read(reg.UC_ARM_REG_XPSR)
        masked = uc.reg_read(reg.UC_ARM_REG_PRIMASK) & 1
        return not masked and status & (0x1FF | IT_BITS) == 0

    def interrupt(self, uc: Any, line: int) -> None:
        """``line``: the number of the exception, 16 more than the interrupt's."""
        status, sp = uc.reg_read(reg.UC_ARM_REG_XPSR), uc.reg_read(reg.UC_ARM_REG_SP)
        aligned = ALIGNED if sp & 4 else 0
        frame = (sp & ~7) - 32
        words = [uc.reg_read(one) for one in (*PUSHED, reg.UC_ARM_REG_PC)]
        uc.mem_write(frame, struct.pack("<8I", *words, status & ~ALIGNED | aligned | THUMB))
        [handler] = struct.unpack("<I", uc.mem_read(self.control.values[VTOR] + 4 * line, 4))
        assert handler & 1, f"exception {line} has no handler"
        uc.reg_write(reg.UC_ARM_REG_XPSR, status & ~0x1FF | line)
        uc.reg_write(reg.UC_ARM_REG_SP, frame)
        uc.reg_write(reg.UC_ARM_REG_LR, THREAD_MAIN)
        uc.reg_write(reg.UC_ARM_REG_PC, handler)

    def exception(self, uc: Any, number: int, count: int) -> bool:
        if number != EXCEPTION_EXIT:
            return False
        frame = uc.reg_read(reg.UC_ARM_REG_SP)
        *words, pc, status = struct.unpack("<8I", uc.mem_read(frame, 32))
        for one, word in zip(PUSHED, words, strict=True):
            uc.reg_write(one, word)
        uc.reg_write(reg.UC_ARM_REG_SP, frame + 32 + (4 if status & ALIGNED else 0))
        uc.reg_write(reg.UC_ARM_REG_XPSR, status & ~ALIGNED)
        uc.reg_write(reg.UC_ARM_REG_PC, pc | 1)
        return True
