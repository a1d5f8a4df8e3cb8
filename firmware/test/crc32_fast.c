/* SPDX-License-Identifier: Apache-2.0 */
/* tfin_crc32 for the simulators, which spend most of their time in it: eight bytes a step, with
 * tables of 8 kB, where the engine's has 64 bytes. */
#include <string.h>

#include "tinyfin.h"

uint32_t tfin_crc32(uint32_t crc, const void *data, size_t size)
{
    static uint32_t table[8][256];
    const uint8_t *at = data;
    for (uint32_t i = table[0][1] != 0 ? 8 * 256 : 0; i < 8 * 256; i++) {
        uint32_t before = i < 256 ? i : table[i / 256 - 1][i % 256];
        for (int bit = 0; i < 256 && bit < 8; bit++) {
            before = before >> 1 ^ (before & 1u ? 0xEDB88320u : 0);
        }
        table[i / 256][i % 256] = i < 256 ? before : table[0][before & 0xFFu] ^ before >> 8;
    }
    crc = ~crc;
    for (; size >= 8; size -= 8, at += 8) {
        uint32_t low, high;
        memcpy(&low, at, 4);
        memcpy(&high, at + 4, 4);
        low ^= crc;
        crc = 0;
        for (uint32_t i = 0; i < 4; i++) {
            crc ^= table[7 - i][low >> (8u * i) & 0xFFu] ^ table[3 - i][high >> (8u * i) & 0xFFu];
        }
    }
    while (size-- != 0) {
        crc = crc >> 8 ^ table[0][(crc ^ *at++) & 0xFFu];
    }
    return ~crc;
}
