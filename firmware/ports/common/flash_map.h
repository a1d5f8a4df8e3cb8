/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a chip keeps packs, of its board file: TFIN_FLASH_AT, behind what upload.maximum_size
 * leaves to the image, and TFIN_FLASH_SLOT, the bytes of a slot. Two slots follow each other, then
 * two journal sectors, then two halves of TFIN_FLASH_STATE bytes for the state, then
 * TFIN_FLASH_AUDIT bytes for the audit log; these two if there are such defines. Flash is read
 * where it is programmed.
 */
#ifndef TFIN_FLASH_MAP_H
#define TFIN_FLASH_MAP_H

#include <string.h>

#include "flash.h"
#include "registers.h"

#if !defined(TFIN_FLASH_AT) || !defined(TFIN_FLASH_SLOT)
#error "the board file lacks where packs lie: \"defines\": \
[\"TFIN_FLASH_AT=0x08010000u\", \"TFIN_FLASH_SLOT=20480u\"]"
#endif

#ifndef TFIN_FLASH_STATE
#define TFIN_FLASH_STATE 0u
#endif
#ifndef TFIN_FLASH_AUDIT
#define TFIN_FLASH_AUDIT 0u
#endif

#define TFIN_FLASH_JOURNAL (TFIN_FLASH_AT + 2u * TFIN_FLASH_SLOT)
/* Where all of it ends, with so many bytes of a journal sector. */
#define TFIN_FLASH_AUDIT_AT(journal_bytes) \
    (TFIN_FLASH_JOURNAL + 2u * (journal_bytes) + 2u * TFIN_FLASH_STATE)
#define TFIN_FLASH_END(journal_bytes) (TFIN_FLASH_AUDIT_AT(journal_bytes) + TFIN_FLASH_AUDIT)

/* Stands before the map of a driver, with the bytes of its erase unit. */
#define TFIN_FLASH_CHECK(page)                                                           \
    _Static_assert(TFIN_FLASH_AT % (page) == 0 && TFIN_FLASH_SLOT % (page) == 0 &&       \
                       TFIN_FLASH_STATE % (page) == 0 && TFIN_FLASH_AUDIT % (page) == 0, \
                   "TFIN_FLASH_AT, _SLOT, _STATE, _AUDIT: whole erase units");           \
    _Static_assert(TFIN_FLASH_AUDIT != (page), "TFIN_FLASH_AUDIT: two erase units, or none")

/* The map of a chip whose erase units, of `page` bytes, are all alike. */
#define TFIN_FLASH_PAGES(page, journal_bytes, program, erased_byte, worst_ms)                   \
    {.slot = {{TFIN_FLASH_AT, TFIN_FLASH_SLOT, page},                                           \
              {TFIN_FLASH_AT + TFIN_FLASH_SLOT, TFIN_FLASH_SLOT, page}},                        \
     .journal = {{TFIN_FLASH_JOURNAL, journal_bytes, page},                                     \
                 {TFIN_FLASH_JOURNAL + (journal_bytes), journal_bytes, page}},                  \
     .state = {{TFIN_FLASH_JOURNAL + 2u * (journal_bytes), TFIN_FLASH_STATE, page},             \
               {TFIN_FLASH_JOURNAL + 2u * (journal_bytes) + TFIN_FLASH_STATE, TFIN_FLASH_STATE, \
                page}},                                                                         \
     .audit = {TFIN_FLASH_AUDIT_AT(journal_bytes), TFIN_FLASH_AUDIT, page},                     \
     .program_bytes = (program),                                                                \
     .erased = (erased_byte),                                                                   \
     .worst_erase_ms = (worst_ms)}

/* `size` bytes at this address are inside of the areas of the map. */
static inline int flash_holds(const tfin_flash_map *map, uint32_t address, uint32_t size)
{
    uint32_t end = map->audit.address + map->audit.size;
    return address >= TFIN_FLASH_AT && address % size == 0 && address <= end - size;
}

#ifndef FLASH_HAS_CODE /* a chip that knows what it cannot read: its flash.c says so */
const void *tfin_port_flash_at(uint32_t address)
{
    return (const void *)TFIN_REGISTER(address);
}

int tfin_port_flash_read(uint32_t address, void *out, uint32_t size)
{
    memcpy(out, tfin_port_flash_at(address), size);
    return 1;
}
#endif

#endif
