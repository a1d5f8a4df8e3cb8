/* SPDX-License-Identifier: Apache-2.0 */
#include "tinyfin.h"

/* Four bits a step: a table of 64 bytes where a byte-wise one would take 1 kB of flash. */
uint32_t tfin_crc32(uint32_t crc, const void *data, size_t size)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc = table[(crc ^ p[i]) & 15u] ^ (crc >> 4);
        crc = table[(crc ^ ((uint32_t)p[i] >> 4)) & 15u] ^ (crc >> 4);
    }
    return ~crc;
}
