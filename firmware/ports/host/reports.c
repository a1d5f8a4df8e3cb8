/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reports of many terminals, by the code that makes a terminal's own: for fleets that are
 * simulated. The argument is a signed pack. Each row on standard input is one terminal at one
 * moment, and its report follows on standard output behind its size (u16). A row, little-endian:
 *
 *   id 8, report key 32, u32 boot nonce, u32 number, u32 clock in s, u8 cause of the restart,
 *   u8 place of the pack that runs, u16 newest page of notices, and of its journal's record
 *   (docs/formats/journal.md) u8 places, u8 reason, tags of the active and the other pack 4 each,
 *   u16 0; u32[15] counters in the order of docs/formats/report.md,
 *   u16 size of an image of its monitor for that pack (0: none), u16 size of one of its probation
 *   (0: none), the images
 *
 * Ends with 1 when the pack does not open, with 2 at a row that is cut off or an image that is
 * refused. Of a probation's image the size alone is looked at.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/slots/keys.h"
#include "../../src/slots/report.h"

enum { SECTOR = 1024, PROGRAM = 32, HEAD = 68, COUNTERS = 15, SIZES = 4, MONITOR = 4096 };
enum { AT_KEY = 8, AT_BOOT = 40, AT_NUMBER = 44, AT_CLOCK = 48, AT_CAUSE = 52, AT_RUNNING = 53 };
enum { AT_NOTICES = 54, AT_PLACES = 56, AT_REASON = 57, AT_ACTIVE = 58, AT_OTHER = 62 };

const uint8_t tinyfin_root_key[TFIN_KEY_BYTES];

/* A terminal's journal is all of its flash. */
static uint8_t flash[2 * SECTOR];
static const tfin_flash_map map = {
    .journal = {{0, SECTOR, SECTOR}, {SECTOR, SECTOR, SECTOR}},
    .program_bytes = PROGRAM,
    .erased = 0xFF,
};

int tfin_port_flash_read(uint32_t address, void *out, uint32_t size)
{
    memcpy(out, flash + address, size);
    return 1;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    memcpy(flash + address, data, PROGRAM);
    return 1;
}

int tfin_port_flash_erase(uint32_t address)
{
    memset(flash + address, 0xFF, SECTOR);
    return 1;
}

const void *tfin_port_flash_at(uint32_t address)
{
    return flash + address;
}

static uint32_t number(const uint8_t *at, uint32_t size)
{
    tfin_reader r = {at, at + size, 0};
    return (uint32_t)tfin_get(&r, size);
}

static void provision(tfin_journal *j, const uint8_t *row)
{
    tfin_new_identity new;
    memset(&new, 0, sizeof new);
    memcpy(new.id, row, sizeof new.id);
    memcpy(new.report_key, row + AT_KEY, sizeof new.report_key);
    memset(flash, 0xFF, sizeof flash);
    tfin_journal_open(j, &map);
    j->now.version = TFIN_JOURNAL_VERSION;
    j->now.notices = (uint16_t)number(row + AT_NOTICES, 2);
    j->now.places = row[AT_PLACES];
    j->now.reason = row[AT_REASON];
    memcpy(j->now.active, row + AT_ACTIVE, sizeof j->now.active);
    memcpy(j->now.other, row + AT_OTHER, sizeof j->now.other);
    tfin_journal_renew(j, tfin_keys_set_identity, &new);
    while (tfin_journal_step(j)) {
    }
}

/* As tfin_probation_export has made it of a terminal's; empty when there is none. */
static int take_probation(tfin_probation *p, const uint8_t *image, uint32_t size)
{
    static const uint8_t some_bounds;
    memset(p, 0, sizeof *p);
    if (size == TFIN_PROBATION_IMAGE_BYTES) {
        p->bounds = &some_bounds;
        memcpy(p->body, image + size - sizeof p->body, sizeof p->body);
    }
    return size == 0 || size == TFIN_PROBATION_IMAGE_BYTES;
}

static uint8_t *file_of(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        *size = (size_t)ftell(file);
        rewind(file);
        data = aligned_alloc(TFIN_ALIGN, (*size + TFIN_ALIGN) / TFIN_ALIGN * TFIN_ALIGN);
        if (data != NULL && fread(data, 1, *size, file) != *size) {
            free(data);
            data = NULL;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return data;
}

int main(int argc, char **argv)
{
    static const uint32_t any_record = 0;
    static tfin_probation probation;
    static uint8_t counts[MONITOR] __attribute__((aligned(8)));
    static uint8_t image[2 * UINT16_MAX], answer[4 + 512], row[HEAD + 4 * COUNTERS + SIZES];
    size_t size = 0, memory_size;
    uint8_t *pack = argc == 2 ? file_of(argv[1], &size) : NULL;
    tfin_engine engine;
    tfin_trust trust;
    tfin_monitor monitor;
    memset(&trust, 0, sizeof trust);
    memset(&monitor, 0, sizeof monitor);
    trust.allow_development_key = 1;
    trust.record = &any_record;
    memory_size = 1u << 20;
    void *memory = aligned_alloc(TFIN_ALIGN, memory_size);
    if (pack == NULL || memory == NULL ||
        tfin_open(&engine, pack, size, memory, memory_size, &trust) != TFIN_OK) {
        return 1;
    }
    int monitored = tfin_monitor_open(&monitor, &engine, counts, sizeof counts) == TFIN_OK;
    while (fread(row, 1, sizeof row, stdin) == sizeof row) {
        static tfin_slots slots;
        static const tfin_audit no_audit;
        uint32_t counters[COUNTERS];
        uint32_t bytes = number(row + HEAD + 4 * COUNTERS, 2);
        uint32_t more = number(row + HEAD + 4 * COUNTERS + 2, 2);
        if (fread(image, 1, bytes + more, stdin) != bytes + more ||
            !take_probation(&probation, image + bytes, more) ||
            (bytes != 0 &&
             (!monitored || tfin_monitor_import(&monitor, image, bytes) != TFIN_OK))) {
            return 2;
        }
        for (uint32_t i = 0; i < COUNTERS; i++) {
            counters[i] = number(row + HEAD + 4 * i, 4);
        }
        provision(&slots.journal, row);
        slots.running = row[AT_RUNNING];
        const tfin_report report = {
            .slots = &slots,
            .audit = &no_audit,
            .probation = &probation,
            .counters = counters,
            .counter_count = COUNTERS,
            .boot_nonce = number(row + AT_BOOT, 4),
            .number = number(row + AT_NUMBER, 4),
            .t_s = number(row + AT_CLOCK, 4),
            .pack_id = tfin_pack_id(&engine),
            .cause = row[AT_CAUSE],
            .monitor = bytes != 0 ? &monitor : NULL,
        };
        tfin_writer w = {answer, answer + sizeof answer, 0};
        uint32_t whole = tfin_report_piece(&report, 0, &w);
        memmove(answer + 2, answer + 4, whole); /* in place of the offset */
        if (whole == 0 || fwrite(answer, 1, whole + 2, stdout) != whole + 2) {
            return 2;
        }
    }
    return feof(stdin) ? 0 : 2;
}
