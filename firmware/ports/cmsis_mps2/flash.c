/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of a machine that has none: RAM behind TFIN_MPS2_NOR, which the emulator can keep in a file
 * that outlives it. It behaves as flash does: what is programmed must be erased. An erased byte is
 * 0, so that memory and files that were never written are erased.
 */
#include "flash.h"

#ifdef TFIN_PORT_FLASH
#include <string.h>

#include "registers.h"

enum { ERASE = 4096, PROGRAM = 4, SLOT = 65536, ALL = 2 * SLOT + 2 * ERASE };

const tfin_flash_map *tfin_port_flash_map(void)
{
    static const tfin_flash_map map = {
        .slot = {{TFIN_MPS2_NOR, SLOT, ERASE}, {TFIN_MPS2_NOR + SLOT, SLOT, ERASE}},
        .journal = {{TFIN_MPS2_NOR + 2 * SLOT, ERASE, ERASE},
                    {TFIN_MPS2_NOR + 2 * SLOT + ERASE, ERASE, ERASE}},
        .program_bytes = PROGRAM,
        .erased = 0x00,
        .worst_erase_ms = 1,
    };
    return &map;
}

static int inside(uint32_t address, uint32_t size)
{
    return address >= TFIN_MPS2_NOR && address % size == 0 && address - TFIN_MPS2_NOR <= ALL - size;
}

const void *tfin_port_flash_at(uint32_t address)
{
    return (const void *)TFIN_REGISTER(address);
}

int tfin_port_flash_read(uint32_t address, void *out, uint32_t size)
{
    memcpy(out, tfin_port_flash_at(address), size);
    return 1;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t word;
    if (!inside(address, PROGRAM) || TFIN_REG(address) != 0) {
        return 0;
    }
    memcpy(&word, data, sizeof word);
    TFIN_REG(address) = word;
    return 1;
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!inside(address, ERASE)) {
        return 0;
    }
    for (uint32_t at = address; at < address + ERASE; at += PROGRAM) {
        TFIN_REG(at) = 0;
    }
    return 1;
}
#endif
