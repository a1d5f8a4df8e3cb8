/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the terminal application needs from a chip, and nothing more. One folder next to this file
 * per chip family implements it; firmware/platform/boards/<target>.json names the folder.
 *
 * Bytes go through one UART (115200 8N1 unless TFIN_PORT_BAUD says otherwise). Sending is polled;
 * an interrupt fills a ring with what is received (common/ring.h), but for ports whose bytes wait
 * in a pipe. No call blocks except tfin_port_write and tfin_port_set_baud, whose waits end, and
 * tfin_port_idle, none may be called from an interrupt, none allocates.
 *
 * To add a target of a family that is here: one board file. To add a family: a folder with
 *   - startup code: a vector table or reset entry that sets the stack pointer, calls
 *     tfin_port_boot() (boot.c) and never returns. Cortex-M has it in common/cortex_m.c;
 *   - the functions below that are not marked [common].
 * The ports use no libc. memcpy, memset and memcmp come from common/memory.c.
 */
#ifndef TFIN_PORT_H
#define TFIN_PORT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef TFIN_PORT_BAUD
#define TFIN_PORT_BAUD 115200u
#endif

/* Bytes of a receive ring. A power of two. */
#ifndef TFIN_PORT_RECEIVE_BYTES
#ifndef TFIN_WIRE_SMALL
#define TFIN_PORT_RECEIVE_BYTES 4096
#else
#define TFIN_PORT_RECEIVE_BYTES 128
#endif
#endif

/* What the port can do. */
enum tfin_port_ability {
    /* tfin_port_exit ends an emulator or a process; never of a port that runs on a chip */
    TFIN_PORT_EXIT = 1,
    TFIN_PORT_REBOOT = 2, /* tfin_port_reset restarts */
    TFIN_PORT_STACK = 4,  /* the stack functions measure */
    TFIN_PORT_SPEED = 8   /* there are speeds that tfin_port_set_baud() can set */
};
extern const uint32_t tfin_port_abilities;

/* Clocks, UART and tick counter. Called once by the startup code, before main(). */
void tfin_port_init(void);

/* ------------------------------------------------------------------------------------- bytes -- */

/* Next received byte, 0 to 255, or -1. Never waits. */
int tfin_port_read(void);

/* To be called when there was no byte. May sleep until one comes, with the core stopped; may
 * also return at once. */
void tfin_port_idle(void);

/* Bytes that may arrive between two calls of tfin_port_read() without a loss; 0 of a port
 * that polls its UART: its host sends one frame, then waits for the answer. */
extern const uint32_t tfin_port_receive_bytes;

/* Bytes known to be lost since boot, because they were not read in time. 0 where that cannot be
 * known. */
uint32_t tfin_port_receive_overruns(void);

/* How often tfin_port_write looks for space for a byte: about a second on a fast core, and far
 * longer than a byte takes. */
#ifndef TFIN_PORT_SEND_TURNS
#define TFIN_PORT_SEND_TURNS 0x800000u
#endif

/* Sends size bytes; returns when the last one is in the UART. Waits for the UART, about
 * size * 10 / TFIN_PORT_BAUD seconds; a UART that takes no byte for TFIN_PORT_SEND_TURNS looks is
 * given up and the rest is not sent: the host sees a damaged frame, asks again. */
void tfin_port_write(const uint8_t *data, size_t size);

/* Waits until the last byte has left, as long as tfin_port_write waits for one at most, then
 * changes the UART's speed. 1: done; what comes in at another speed from now on is noise. 0: this
 * port, or its clock, cannot do that speed within 2%, or the last byte does not leave; nothing has
 * changed. TFIN_PORT_BAUD always works where TFIN_PORT_SPEED is set. */
int tfin_port_set_baud(uint32_t baud);

/* -------------------------------------------------------------------------------------- time -- */

/*
 * A free-running counter that counts up and wraps at tfin_port_tick_mask:
 *
 *     elapsed = (tfin_port_ticks() - before) & tfin_port_tick_mask;
 *
 * Under QEMU's -icount shift=S every guest instruction takes 2^S ns of guest time, so ticks are
 * instructions times a constant: instructions = elapsed * 1e9 / (tfin_port_tick_hz * 2^S), rounded,
 * exact because the board file chooses S so that 2^S * tfin_port_tick_hz >= 2e9, or, for a counter
 * that counts instructions itself, tfin_port_tick_hz = 1e9 and S = 0 (then elapsed is the answer).
 * On a chip ticks are time at tfin_port_tick_hz. Without -icount QEMU's counters are host time.
 */
uint32_t tfin_port_ticks(void);
extern const uint32_t tfin_port_tick_hz;
extern const uint32_t tfin_port_tick_mask;

/* ---------------------------------------------------------------------------- boot and reset -- */

/*
 * Differs from boot to boot: material for the boot nonce, not for keys. [common] It mixes two words
 * of RAM that startup leaves alone (one is random at power-up, and an emulator's command line
 * writes it; one counts the resets since) with the tick counter and tfin_port_noise().
 */
uint32_t tfin_port_entropy(void);

/* The chip's own noise (a random number generator, a device id), or 0. */
uint32_t tfin_port_noise(void);

/* Whether this boot is the first one with power: RAM was lost. [common] A word of RAM that startup
 * leaves alone says so. */
int tfin_port_power_was_lost(void);

/* Restarts the chip, as the reset button does. Does not return. */
void tfin_port_reset(void);

/* Ends the emulator with this exit code, 0..255. A real chip has nowhere to go and stays here
 * until it is reset. Does not return. */
void tfin_port_exit(int code);

/* ----------------------------------------------------------------------------------- secrets -- */

/* With TFIN_SEALED: the keys of sealed packs and state images (docs/formats/sealed.md), from where
 * the chip keeps secrets. Writes key `number`, counted from 0; 1, or 0 where there are no more of
 * them. [common] A default that has none is in firmware/src/slots/seal.c. */
int tfin_port_seal_key(uint32_t number, uint8_t key[32]);

/* ------------------------------------------------------------------------------------- stack -- */

/*
 * Startup fills the free stack with a pattern; what is still intact was never used. [common]
 * The stack is what RAM is left above the variables; the painted part is its top, at most 64 KiB:
 *
 *     painted = tfin_port_stack_bytes()
 *     deepest since boot or since tfin_port_stack_paint()
 *             = painted - tfin_port_stack_painted_free()
 *
 * To measure one call:
 *     tfin_port_stack_paint();
 *     call();
 *     used = tfin_port_stack_bytes() - tfin_port_stack_painted_free() - tfin_port_stack_depth();
 */
uint32_t tfin_port_stack_bytes(void);        /* size of the painted part */
uint32_t tfin_port_stack_painted_free(void); /* bytes of it that were never written */
uint32_t tfin_port_stack_depth(void);        /* bytes in use now, in the caller of this function */
void tfin_port_stack_paint(void);            /* paints again what is free below the caller */

#ifdef __cplusplus
}
#endif

#endif
