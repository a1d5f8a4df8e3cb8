/* SPDX-License-Identifier: Apache-2.0 */
/* The ROM has copied this section to RAM and arrives by a call that would turn the register window.
 * No window turns before an `entry`, and this code, without windows (call0), has none: it goes on
 * once windows are off. */
    .section .loader, "ax"
    .globl tfin_start
    .literal_position
    .align 4
tfin_start:
    movi a0, 0x0F /* PS: interrupts masked, no exception, no windows */
    wsr a0, ps
    rsync
    movi a1, tfin_ld_stack_top
    movi a0, tfin_map_flash
    callx0 a0
    movi a0, tfin_port_boot
    jx a0
