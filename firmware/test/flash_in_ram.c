/* SPDX-License-Identifier: Apache-2.0 */
/* Flash of a test: memory that behaves as flash does, and ends the test when it is misused. */
#include <stdlib.h>
#include <string.h>

#include "flash.h"
#include "flash_in_ram.h"
#include "port.h"

enum { ERASE = 1024, PROGRAM = 8, SLOT = 16 * ERASE, ALL = 2 * SLOT + 4 * ERASE };

static uint8_t flash[ALL] __attribute__((aligned(16)));
static uint8_t saved[ALL];
static uint8_t changed[ALL / ERASE]; /* erase units, since flash_in_ram_save */
static int made;

const tfin_flash_map *tfin_port_flash_map(void)
{
    static const tfin_flash_map map = {
        .slot = {{0, SLOT, ERASE}, {SLOT, SLOT, ERASE}},
        .journal = {{2 * SLOT, ERASE, ERASE}, {2 * SLOT + ERASE, ERASE, ERASE}},
        .audit = {2 * SLOT + 2 * ERASE, 2 * ERASE, ERASE},
        .program_bytes = PROGRAM,
        .erased = 0xFF,
        .worst_erase_ms = 1,
    };
    if (!made) {
        memset(flash, 0xFF, sizeof flash);
        made = 1;
    }
    return &map;
}

const void *tfin_port_flash_at(uint32_t address)
{
    return flash + address;
}

void flash_in_ram_save(void)
{
    memcpy(saved, flash, sizeof saved);
    memset(changed, 0, sizeof changed);
}

void flash_in_ram_restore(void)
{
    for (uint32_t unit = 0; unit < sizeof changed; unit++) {
        if (changed[unit]) {
            memcpy(flash + unit * ERASE, saved + unit * ERASE, ERASE);
            changed[unit] = 0;
        }
    }
}

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

int tfin_port_flash_read(uint32_t address, void *out, uint32_t size)
{
    require(address < ALL && size <= ALL - address);
    memcpy(out, flash + address, size);
    return 1;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    static const uint8_t erased[PROGRAM] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};
    require(address % PROGRAM == 0 && address < ALL);
    require(memcmp(flash + address, erased, PROGRAM) == 0);
    memcpy(flash + address, data, PROGRAM);
    changed[address / ERASE] = 1;
    return 1;
}

int tfin_port_flash_erase(uint32_t address)
{
    require(address % ERASE == 0 && address < ALL);
    memset(flash + address, 0xFF, ERASE);
    changed[address / ERASE] = 1;
    return 1;
}

int tfin_port_power_was_lost(void)
{
    return 1;
}
