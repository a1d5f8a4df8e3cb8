/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash that holds packs and what is known about them. A port implements it (firmware/ports/X/
 * flash.c); tests link memory in its place. Only the functions of firmware/src/slots touch it,
 * from one task, so nothing here needs a lock.
 *
 * Flash is read where it lies. It is erased in units, all bits to one value, and programmed in
 * units, each at most once between two erasures: chips with error-correcting codes allow no more.
 * But a place of the journal that reads erased after a cut is programmed; what the chip refuses
 * then, the journal writes to the next place.
 * A unit whose operation a power cut interrupted may read differently from one moment to the next;
 * the callers expect that, a port need not notice it.
 */
#ifndef TFIN_FLASH_H
#define TFIN_FLASH_H

#include <stdint.h>

/* A piece of flash; address and size are multiples of erase_bytes. */
typedef struct tfin_flash_area {
    uint32_t address;
    uint32_t size;
    uint32_t erase_bytes;
} tfin_flash_area;

typedef struct tfin_flash_map {
    /* a pack each: aligned to TFIN_ALIGN, where the core can read it as memory */
    tfin_flash_area slot[2];
    /* at least 480 bytes each: a sheet of 352 and four records; of the smallest erase units that
     * the chip has */
    tfin_flash_area journal[2];
    /* an image of the state and what came since, each; size 0: the state is not kept */
    tfin_flash_area state[2];
    /* at least two erase units, at most 255, a unit at least eight records of 32 bytes; size 0:
     * there is no audit log */
    tfin_flash_area audit;
    /* what is programmed at once: 2, 4, 8, 16 or 32 bytes, at a multiple of as many */
    uint8_t program_bytes;
    /* what an erased byte reads as: 0xFF or 0x00 */
    uint8_t erased;
    /* the longest that one erase unit takes; the core may stand still for as long */
    uint16_t worst_erase_ms;
} tfin_flash_map;

/* The port's map; null when this chip or emulator turns out to have no controller: then there are
 * no slots, and the pack of the image runs. */
const tfin_flash_map *tfin_port_flash_map(void);

/* Copies bytes out. 1, or 0 where the chip reports that it cannot read them (a double error of its
 * code, after a cut): then `out` is undefined. */
int tfin_port_flash_read(uint32_t address, void *out, uint32_t size);

/* Programs program_bytes bytes from `data`, which may lie at any address. Erases the unit of
 * erase_bytes that begins at address. Each returns when the chip is done, within worst_erase_ms. 1,
 * or 0 where the chip reports an error or the address is outside of the map: nothing is known about
 * the unit then. */
int tfin_port_flash_program(uint32_t address, const void *data);
int tfin_port_flash_erase(uint32_t address);

/* Where the flash at this address lies in memory. */
const void *tfin_port_flash_at(uint32_t address);

#endif
