/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flash of a machine that has none: RAM, which the emulator can keep in a file that outlives it. It
 * behaves as flash does: what is programmed must be erased. An erased byte is 0, so that memory and
 * files that were never written are erased.
 */
#ifdef TFIN_PORT_FLASH
#include "flash_map.h"

enum { PAGE = 4096, WORD = 4 };

TFIN_FLASH_CHECK(PAGE);
static const tfin_flash_map map = TFIN_FLASH_PAGES(PAGE, PAGE, WORD, 0x00, 1);

const tfin_flash_map *tfin_port_flash_map(void)
{
    return &map;
}

int tfin_port_flash_program(uint32_t address, const void *data)
{
    uint32_t word;
    if (!flash_holds(&map, address, WORD) || TFIN_REG(address) != 0) {
        return 0;
    }
    memcpy(&word, data, sizeof word);
    TFIN_REG(address) = word;
    return 1;
}

int tfin_port_flash_erase(uint32_t address)
{
    if (!flash_holds(&map, address, PAGE)) {
        return 0;
    }
    for (uint32_t at = address; at < address + PAGE; at += WORD) {
        TFIN_REG(at) = 0;
    }
    return 1;
}
#endif
