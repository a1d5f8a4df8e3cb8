# SPDX-License-Identifier: Apache-2.0
"""A RISC-V core for :mod:`tests.support.unicorn_machine`, machine mode only."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.unicorn_machine import Machine

unicorn = pytest.importorskip("unicorn")
from unicorn import riscv_const as reg  # noqa: E402  after the skip

MIE, MPIE, MPP = 1 << 3, 1 << 7, 3 << 11
CAUSE_ILLEGAL_INSTRUCTION = 2
CSR = 0x73
COUNTER_EVENTS, COUNTER_MODE, COUNTER = 0x7E0, 0x7E1, 0x7E2


class RiscV:
    """RV32IMC with interrupts through vectors (the low bit of mtvec is set).

    The counter of Espressif's cores (CSR 0x7E2; 0x7E0 and 0x7E1 switch it on) counts instructions
    here: what unicorn takes for an illegal instruction is carried out.
    """

    architecture = unicorn.UC_ARCH_RISCV
    mode = unicorn.UC_MODE_RISCV32
    pc = reg.UC_RISCV_REG_PC

    def __init__(self) -> None:
        self.counting = [0, 0]
        self.entry = 0

    def start(self, uc: Any, address: int) -> None:
        self.counting = [0, 0]
        self.entry = address
        uc.reg_write(reg.UC_RISCV_REG_MSTATUS, 0)
        uc.reg_write(reg.UC_RISCV_REG_PC, address)

    def resume_at(self, uc: Any) -> int:
        return int(uc.reg_read(reg.UC_RISCV_REG_PC))

    def ready(self, uc: Any, line: int) -> bool:
        return bool(uc.reg_read(reg.UC_RISCV_REG_MSTATUS) & MIE)

    def interrupt(self, uc: Any, line: int) -> None:
        status = uc.reg_read(reg.UC_RISCV_REG_MSTATUS)
        vectors = uc.reg_read(reg.UC_RISCV_REG_MTVEC)
        assert vectors & 3 == 1, "interrupts without vectors are not modelled"
        uc.reg_write(reg.UC_RISCV_REG_MEPC, uc.reg_read(reg.UC_RISCV_REG_PC))
        uc.reg_write(reg.UC_RISCV_REG_MCAUSE, 1 << 31 | line)
        uc.reg_write(reg.UC_RISCV_REG_MSTATUS, status & ~MIE | MPIE | MPP)
        uc.reg_write(reg.UC_RISCV_REG_PC, (vectors & ~3) + 4 * line)

    def call(self, machine: Machine, address: int, *arguments: int) -> int:
        """What a function of the guest answers, called while the guest is between two
        instructions of its own program."""
        uc, kept = machine.uc, machine.uc.context_save()
        back = self.entry - 8  # what the ROM looks for is never executed
        uc.reg_write(reg.UC_RISCV_REG_PC, address)
        uc.reg_write(reg.UC_RISCV_REG_X1, back)
        for number, value in enumerate(arguments):
            uc.reg_write(reg.UC_RISCV_REG_X10 + number, value)
        while uc.reg_read(reg.UC_RISCV_REG_PC) != back:
            machine.run(until=back)
        answer = int(uc.reg_read(reg.UC_RISCV_REG_X10))
        uc.context_restore(kept)
        return answer

    def exception(self, uc: Any, number: int, count: int) -> bool:
        if number != CAUSE_ILLEGAL_INSTRUCTION:
            return False
        # unicorn has gone past it already; mem_read may read what the core may not
        word = int.from_bytes(uc.mem_read(uc.reg_read(reg.UC_RISCV_REG_PC) - 4, 4), "little")
        function, csr = word >> 12 & 7, word >> 20
        if word & 0x7F != CSR or csr not in (COUNTER_EVENTS, COUNTER_MODE, COUNTER):
            return False
        destination, source = word >> 7 & 31, word >> 15 & 31
        if function == 1 and csr != COUNTER:
            self.counting[csr - COUNTER_EVENTS] = uc.reg_read(reg.UC_RISCV_REG_X0 + source)
        elif function == 2 and source == 0 and csr == COUNTER:
            value = count & 0xFFFFFFFF if self.counting == [1, 1] else 0
            uc.reg_write(reg.UC_RISCV_REG_X0 + destination, value)
        else:
            return False
        return True
