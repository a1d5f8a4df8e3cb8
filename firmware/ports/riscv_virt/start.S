/* SPDX-License-Identifier: Apache-2.0 */
    .section .vectors, "ax"
    .globl tfin_start
tfin_start:
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, tfin_ld_stack_top
    la t0, tfin_riscv_trap
    csrw mtvec, t0
    j tfin_port_boot
