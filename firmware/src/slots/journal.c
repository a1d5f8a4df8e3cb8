/* SPDX-License-Identifier: Apache-2.0 */
#ifdef TFIN_PORT_FLASH /* nothing of it is in an image whose port keeps no packs */
#include "journal.h"

#include <stddef.h>
#include <string.h>

#include "tinyfin.h"

enum { RECORD_BYTES = sizeof(tfin_journal_record), COPIES = 2 };
/* Behind a sheet its seal: the CRC of the sheet, and zeros. */
enum { RECORDS_AT = TFIN_SHEET_BYTES + TFIN_SHEET_PIECE };
/* of the other sector: it is erased and gets a sheet, then it is the one that counts, and the one
 * before it is erased */
enum { REST, ERASE, SHEET, ERASE_OLD };
_Static_assert(RECORD_BYTES == 32, "a record is one program unit of the widest flash");

static uint32_t crc_of(const tfin_journal_record *r)
{
    return tfin_crc32(0, r, offsetof(tfin_journal_record, crc));
}

static uint32_t places_of(const tfin_journal *j, uint32_t sector)
{
    return (j->map->journal[sector].size - RECORDS_AT) / RECORD_BYTES;
}

static uint32_t address_of(const tfin_journal *j, uint32_t sector, uint32_t place)
{
    return j->map->journal[sector].address + RECORDS_AT + place * RECORD_BYTES;
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

uint32_t tfin_journal_sheet(const tfin_journal *j)
{
    return j->map->journal[j->sector].address;
}

static int read_piece(const tfin_journal *j, uint32_t sector, uint32_t at, uint8_t *piece)
{
    return tfin_port_flash_read(j->map->journal[sector].address + at, piece, TFIN_SHEET_PIECE);
}

/* What the seal of a sector is to be. */
static void make_seal(const tfin_journal *j, uint32_t sector, uint8_t *seal)
{
    uint8_t piece[TFIN_SHEET_PIECE] = {0};
    uint32_t crc = 0;
    for (uint32_t at = 0; at < TFIN_SHEET_BYTES; at += TFIN_SHEET_PIECE) {
        (void)read_piece(j, sector, at, piece);
        crc = tfin_crc32(crc, piece, sizeof piece);
    }
    memset(seal, 0, TFIN_SHEET_PIECE);
    memcpy(seal, &crc, sizeof crc);
}

static int is_sealed(const tfin_journal *j, uint32_t sector)
{
    uint8_t seal[TFIN_SHEET_PIECE];
    uint8_t found[TFIN_SHEET_PIECE];
    make_seal(j, sector, seal);
    return read_piece(j, sector, TFIN_SHEET_BYTES, found) && memcmp(found, seal, sizeof seal) == 0;
}

void tfin_journal_write(tfin_journal *j)
{
    j->copies = COPIES;
    j->failures = 0;
}

void tfin_journal_renew(tfin_journal *j, tfin_sheet_change *change, const void *context)
{
    j->change = change;
    j->context = context;
    j->job = ERASE;
    j->done = 0;
    tfin_journal_write(j);
}

static int is_blank(const tfin_journal *j, uint32_t sector, uint32_t used)
{
    uint8_t piece[TFIN_SHEET_PIECE];
    for (uint32_t at = 0; at < RECORDS_AT; at += sizeof piece) {
        if (!read_piece(j, sector, at, piece) || !is_erased(j, piece)) {
            return 0;
        }
    }
    return used == 0;
}

void tfin_journal_open(tfin_journal *j, const tfin_flash_map *map)
{
    uint32_t used[2] = {0, 0};
    uint32_t place_of_newest = 0;
    int sealed = 0; /* an erasure that a cut interrupted may leave records without their sheet */
    memset(j, 0, sizeof *j);
    j->map = map;
    for (uint32_t sector = 0; sector < 2; sector++) {
        int is = is_sealed(j, sector);
        for (uint32_t place = 0; place < places_of(j, sector); place++) {
            tfin_journal_record r; /* one reading decides: a second one may differ */
            int readable = tfin_port_flash_read(address_of(j, sector, place), &r, sizeof r);
            if (readable && is_erased(j, &r)) {
                continue;
            }
            used[sector] = place + 1u;
            if (readable && is_valid(&r) &&
                (is > sealed || (is == sealed && r.sequence > j->now.sequence))) {
                j->now = r;
                j->sector = (uint8_t)sector;
                place_of_newest = place;
                sealed = is;
            }
        }
    }
    if (j->now.sequence != 0) {
        /* A record that cannot be read now may be valid at the next boot. A number goes with each
         * place, so that what is appended behind it is newer all the same. */
        uint32_t other = 1u - j->sector;
        j->found = TFIN_JOURNAL_FOUND;
        j->used = (uint16_t)used[j->sector];
        j->now.sequence += j->used - 1u - place_of_newest;
        tfin_journal_write(j);
        j->job = is_blank(j, other, used[other]) ? REST : ERASE_OLD;
        while (tfin_journal_step(j)) {
        }
        j->opened = (uint16_t)j->now.sequence;
        return;
    }
    /* The first record goes to sector 1. Of what cannot be read now nothing may come back. */
    j->found = used[0] + used[1] != 0 ? TFIN_JOURNAL_LOST : TFIN_JOURNAL_BLANK;
    j->used = (uint16_t)places_of(j, 0);
    for (uint32_t unit = 0; unit * map->journal[0].erase_bytes < map->journal[0].size; unit++) {
        (void)erase_unit(j, 0, unit);
    }
}

/* A unit of the other sector. */
static int erase_other(tfin_journal *j)
{
    const tfin_flash_area *area = &j->map->journal[1 - j->sector];
    if (!erase_unit(j, 1u - j->sector, j->done)) {
        return 0;
    }
    if (++j->done * area->erase_bytes == area->size) {
        j->done = 0;
        j->job = j->job == ERASE ? SHEET : REST;
    }
    return 1;
}

/* What a piece of the other sector's sheet is to be, or its seal. */
static void make_piece(const tfin_journal *j, uint32_t at, uint8_t *piece)
{
    if (at == TFIN_SHEET_BYTES) {
        make_seal(j, 1u - j->sector, piece);
        return;
    }
    if (!read_piece(j, j->sector, at, piece)) {
        memset(piece, j->map->erased, TFIN_SHEET_PIECE); /* lost; it must not stop the journal */
    }
    if (j->change != NULL) {
        j->change(at, piece, j->context);
    }
}

/* A unit of the other sector's sheet; after its seal that is the sector that is written to. What
 * does not read back begins again with an erasure. */
static int program_sheet(tfin_journal *j)
{
    uint8_t piece[TFIN_SHEET_PIECE];
    uint8_t back[TFIN_SHEET_PIECE];
    uint32_t unit = j->map->program_bytes, at = j->done * unit, within = at % TFIN_SHEET_PIECE;
    uint32_t address = j->map->journal[1 - j->sector].address + at;
    make_piece(j, at - within, piece);
    if (!is_erased(j, piece) &&
        (!tfin_port_flash_program(address, piece + within) ||
         !tfin_port_flash_read(address, back, unit) || memcmp(back, piece + within, unit) != 0)) {
        j->job = ERASE;
        j->done = 0;
        return 0;
    }
    j->done++;
    if (at + unit == RECORDS_AT) {
        j->sector = (uint8_t)(1 - j->sector);
        j->used = 0;
        j->done = 0;
        j->job = ERASE_OLD; /* when the record stands twice */
        j->change = NULL;
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

static int operation(tfin_journal *j)
{
    int appends = j->copies != 0 && (j->job == REST || j->job == ERASE_OLD);
    if (appends && j->unit == 0 && j->used == places_of(j, j->sector)) {
        j->job = ERASE;
        j->done = 0;
        appends = 0;
    }
    return appends ? program_unit(j) : j->job == SHEET ? program_sheet(j) : erase_other(j);
}

int tfin_journal_step(tfin_journal *j)
{
    if (j->copies == 0 && j->job == REST) {
        return 0;
    }
    /* only a copy that reads back right ends a row of failures: a chip may accept every operation
     * and keep nothing */
    if (!operation(j) && ++j->failures == TFIN_JOURNAL_GIVES_UP) {
        j->copies = 0;
        j->job = REST;
        j->change = NULL;
    }
    return j->copies != 0 || j->job != REST;
}

#endif
