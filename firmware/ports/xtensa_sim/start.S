/* SPDX-License-Identifier: Apache-2.0 */
    .section .vectors, "ax"
    .globl tfin_start
tfin_start: /* QEMU's "sim" machine starts at the first byte whatever the ELF's entry says */
    j begin

    .section .init, "ax" /* after its literals: l32r only reaches backwards */
    .literal_position
    .align 4
begin:
    movi a1, tfin_ld_stack_top
    movi a0, tfin_port_boot
    jx a0
