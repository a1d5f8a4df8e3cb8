/* SPDX-License-Identifier: Apache-2.0 */
    .section .init, "ax"
    .globl tfin_riscv_trap

    /* an external interrupt; anything else is a fault, which cannot be reported: it loops here */
    .balign 4
tfin_riscv_trap:
    addi sp, sp, -64
    sw t0, 0(sp)
    csrr t0, mcause
    bgez t0, fault
    sw ra, 4(sp)
    sw t1, 8(sp)
    sw t2, 12(sp)
    sw t3, 16(sp)
    sw t4, 20(sp)
    sw t5, 24(sp)
    sw t6, 28(sp)
    sw a0, 32(sp)
    sw a1, 36(sp)
    sw a2, 40(sp)
    sw a3, 44(sp)
    sw a4, 48(sp)
    sw a5, 52(sp)
    sw a6, 56(sp)
    sw a7, 60(sp)
    call tfin_riscv_interrupt
    lw ra, 4(sp)
    lw t1, 8(sp)
    lw t2, 12(sp)
    lw t3, 16(sp)
    lw t4, 20(sp)
    lw t5, 24(sp)
    lw t6, 28(sp)
    lw a0, 32(sp)
    lw a1, 36(sp)
    lw a2, 40(sp)
    lw a3, 44(sp)
    lw a4, 48(sp)
    lw a5, 52(sp)
    lw a6, 56(sp)
    lw a7, 60(sp)
    lw t0, 0(sp)
    addi sp, sp, 64
    mret
fault:
    j fault
