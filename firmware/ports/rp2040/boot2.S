/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Second stage of the RP2040's boot. The boot ROM reads the first 256 bytes of flash into RAM,
 * compares their checksum and runs them there. They set the flash interface to a plain serial read
 * (command 03h, which every flash chip knows, a quarter of the core's clock), so that flash appears
 * at 0x10000000, and start what lies behind them.
 */
    .syntax unified
    .thumb
    .section .boot2, "ax"
    .balign 4

    ldr r3, =0x18000000     /* SSI */
    movs r0, #0
    str r0, [r3, #8]        /* SSIENR: off while it is set up */
    movs r0, #4
    str r0, [r3, #0x14]     /* BAUDR */
    ldr r0, =0x001F0300     /* frames of 32 bits, read after a command */
    str r0, [r3]            /* CTRLR0 */
    movs r0, #0
    str r0, [r3, #4]        /* CTRLR1: one frame at a time */
    ldr r0, =0x03000218     /* command 03h: 8 bits, then an address of 24 */
    ldr r1, =0x180000F4     /* SPI_CTRLR0 */
    str r0, [r1]
    movs r0, #1
    str r0, [r3, #8]
    ldr r0, =0x10000100     /* the vectors follow these 256 bytes */
    ldr r1, =0xE000ED08     /* VTOR */
    str r0, [r1]
    ldr r1, [r0]
    mov sp, r1
    ldr r1, [r0, #4]
    bx r1

    .ltorg
    .org 252
    /* CRC-32 of the 252 bytes above (polynomial 0x04C11DB7, from all ones, not reflected); a test
     * computes it */
    .word 0x047E913C
