/* SPDX-License-Identifier: Apache-2.0 */
/* A RISC-V port whose line fills the ring by interrupts. */
#ifndef TFIN_RISCV_H
#define TFIN_RISCV_H

#include "port.h"
#include "ring.h"

#define MSTATUS_INTERRUPTS 0x8u

int tfin_port_read(void)
{
    return tfin_ring_get();
}

void tfin_port_idle(void)
{
    /* masked, an interrupt still ends the wait, so none falls between the look and the sleep */
    __asm volatile("csrc mstatus, %0" ::"r"(MSTATUS_INTERRUPTS) : "memory");
    if (tfin_ring_empty()) {
        __asm volatile("wfi" ::: "memory");
    }
    __asm volatile("csrs mstatus, %0" ::"r"(MSTATUS_INTERRUPTS) : "memory");
}

#endif
