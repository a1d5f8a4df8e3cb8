/* SPDX-License-Identifier: Apache-2.0 */
    .section .vectors, "ax"
    .globl tfin_start
    /* the ROM runs flash that begins like this from its third word on, as it is */
    .long 0xAEDB041D
    .long 0xAEDB041D
tfin_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, tfin_ld_stack_top
    la t0, traps
    ori t0, t0, 1 /* these cores know vectored mode only */
    csrw mtvec, t0
    j tfin_port_boot

    .balign 256
traps:
    .option push
    .option norvc
    .rept 32
    j tfin_riscv_trap
    .endr
    .option pop
