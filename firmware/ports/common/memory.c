/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <string.h>

/* By words where both sides allow it: a load or store of an odd address faults on ARMv6-M and
 * Xtensa. The builder compiles this file so that the loops do not become calls to themselves. */

typedef uint32_t __attribute__((may_alias)) word;
typedef uint32_t __attribute__((may_alias, vector_size(8))) pair; /* one store on ARMv7-M */

void *memcpy(void *to, const void *from, size_t size)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((((uintptr_t)out | (uintptr_t)in) & 3u) == 0) {
        for (; size >= 16; size -= 16, out += 16, in += 16) {
            word a = ((const word *)(const void *)in)[0];
            word b = ((const word *)(const void *)in)[1];
            word c = ((const word *)(const void *)in)[2];
            word d = ((const word *)(const void *)in)[3];
            ((word *)(void *)out)[0] = a;
            ((word *)(void *)out)[1] = b;
            ((word *)(void *)out)[2] = c;
            ((word *)(void *)out)[3] = d;
        }
        for (; size >= 4; size -= 4, out += 4, in += 4) {
            *(word *)(void *)out = *(const word *)(const void *)in;
        }
    }
    while (size-- > 0) {
        *out++ = *in++;
    }
    return to;
}

void *memset(void *to, int value, size_t size)
{
    uint8_t *out = to;
    uint8_t byte = (uint8_t)value;
    for (; size > 0 && ((uintptr_t)out & 7u) != 0; size--) {
        *out++ = byte;
    }
    word all = byte * 0x01010101u;
    pair both = {all, all};
    for (; size >= 64; size -= 64, out += 64) {
        pair *p = (pair *)(void *)out;
        p[0] = p[1] = p[2] = p[3] = p[4] = p[5] = p[6] = p[7] = both;
    }
    for (; size >= 4; size -= 4, out += 4) {
        *(word *)(void *)out = all;
    }
    while (size-- > 0) {
        *out++ = byte;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    for (; size > 0; size--, x++, y++) {
        if (*x != *y) {
            return *x < *y ? -1 : 1;
        }
    }
    return 0;
}
