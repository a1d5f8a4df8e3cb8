/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH /* nothing of it is in an image whose port keeps no packs */
#include "journal.h"

#include <stddef.h>
#include <string.h>

#include "tinyfin.h"

enum { RECORD_BYTES = sizeof(tfin_journal_record), COPIES = 2 };
_Static_assert(RECORD_BYTES == 32, "a record is one program unit of the widest flash");

static uint32_t crc_of(const tfin_journal_record *r)
{
    return tfin_crc32(0, r, offsetof(tfin_journal_record, crc));
}

static uint32_t places_of(const tfin_journal *j, uint32_t sector)
{
    return j->map->journal[sector].size / RECORD_BYTES;
}

static uint32_t address_of(const tfin_journal *j, uint32_t sector, uint32_t place)
{
    return j->map->journal[sector].address + place * RECORD_BYTES;
}

static int is_erased(const tfin_journal *j, const void *record)
{
    const uint8_t *byte = record;
    for (uint32_t i = 0; i < RECORD_BYTES; i++) {
        if (byte[i] != j->map->erased) {
            return 0;
        }
    }
    return 1;
}

static int is_valid(const tfin_journal_record *r)
{
    return r->version == TFIN_JOURNAL_VERSION && r->crc == crc_of(r);
}

static int erase_unit(const tfin_journal *j, uint32_t sector, uint32_t unit)
{
    const tfin_flash_area *area = &j->map->journal[sector];
    return tfin_port_flash_erase(area->address + unit * area->erase_bytes);
}

void tfin_journal_write(tfin_journal *j)
{
    j->copies = COPIES;
    j->failures = 0;
}

void tfin_journal_open(tfin_journal *j, const tfin_flash_map *map)
{
    uint32_t used[2] = {0, 0};
    uint32_t place_of_newest = 0;
    memset(j, 0, sizeof *j);
    j->map = map;
    for (uint32_t sector = 0; sector < 2; sector++) {
        for (uint32_t place = 0; place < places_of(j, sector); place++) {
            tfin_journal_record r; /* one reading decides: a second one may differ */
            int readable = tfin_port_flash_read(address_of(j, sector, place), &r, sizeof r);
            if (readable && is_erased(j, &r)) {
                continue;
            }
            used[sector] = place + 1u;
            if (readable && is_valid(&r) && r.sequence > j->now.sequence) {
                j->now = r;
                j->sector = (uint8_t)sector;
                place_of_newest = place;
            }
        }
    }
    if (j->now.sequence != 0) {
        /* A record that cannot be read now may be valid at the next boot. A number goes with each
         * place, so that what is appended behind it is newer all the same. */
        j->found = TFIN_JOURNAL_FOUND;
        j->used = (uint16_t)used[j->sector];
        j->now.sequence += j->used - 1u - place_of_newest;
        tfin_journal_write(j);
        while (tfin_journal_step(j)) {
        }
        return;
    }
    /* The first record goes to sector 1. Of what cannot be read now nothing may come back. */
    j->found = used[0] + used[1] != 0 ? TFIN_JOURNAL_LOST : TFIN_JOURNAL_BLANK;
    j->used = (uint16_t)places_of(j, 0);
    for (uint32_t unit = 0; unit * map->journal[0].erase_bytes < map->journal[0].size; unit++) {
        (void)erase_unit(j, 0, unit);
    }
}

/* A unit of the other sector; after its last one that is the sector that is written to. */
static int turn_over(tfin_journal *j)
{
    const tfin_flash_area *area = &j->map->journal[1 - j->sector];
    if (!erase_unit(j, 1u - j->sector, j->erased)) {
        return 0;
    }
    if (++j->erased * area->erase_bytes == area->size) {
        j->sector = (uint8_t)(1 - j->sector);
        j->used = 0;
        j->erasing = 0;
    }
    return 1;
}

/* A unit of the present copy; after its last one the copy is read back. */
static int program_unit(tfin_journal *j)
{
    uint32_t address = address_of(j, j->sector, j->used);
    uint32_t at = j->unit * (uint32_t)j->map->program_bytes;
    if (at == 0) {
        j->now.version = TFIN_JOURNAL_VERSION;
        j->now.sequence++;
        j->now.crc = crc_of(&j->now);
    }
    int done = tfin_port_flash_program(address + at, (const uint8_t *)&j->now + at);
    j->unit++;
    if (done && at + j->map->program_bytes < RECORD_BYTES) {
        return 1;
    }
    tfin_journal_record written;
    j->unit = 0;
    j->used++;
    if (!done || !tfin_port_flash_read(address, &written, sizeof written) ||
        memcmp(&written, &j->now, sizeof written) != 0) {
        return 0;
    }
    j->copies--;
    j->failures = 0;
    return 1;
}

int tfin_journal_step(tfin_journal *j)
{
    if (j->copies == 0) {
        return 0;
    }
    if (!j->erasing && j->unit == 0 && j->used == places_of(j, j->sector)) {
        j->erasing = 1;
        j->erased = 0;
    }
    /* only a copy that reads back right ends a row of failures: a chip may accept every operation
     * and keep nothing */
    if (!(j->erasing ? turn_over(j) : program_unit(j)) && ++j->failures == TFIN_JOURNAL_GIVES_UP) {
        j->copies = 0;
        j->erasing = 0;
    }
    return j->copies != 0;
}

#endif
