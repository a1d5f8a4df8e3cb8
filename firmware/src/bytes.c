/* SPDX-License-Identifier: Apache-2.0 */
#include "bytes.h"

#include <string.h>

uint32_t tfin_left(const tfin_reader *r)
{
    return r->bad ? 0u : (uint32_t)(r->end - r->at);
}

uint64_t tfin_get(tfin_reader *r, uint32_t bytes)
{
    if (tfin_left(r) < bytes) {
        r->bad = 1;
        return 0;
    }
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        value |= (uint64_t)r->at[i] << (8u * i);
    }
    r->at += bytes;
    return value;
}

uint64_t tfin_get_varint(tfin_reader *r)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        uint64_t byte = tfin_get(r, 1);
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (byte & 0x7F) << shift;
        if (byte < 0x80) {
            return r->bad ? 0 : value;
        }
    }
    r->bad = 1;
    return 0;
}

int64_t tfin_get_signed(tfin_reader *r)
{
    uint64_t z = tfin_get_varint(r);
    return (int64_t)((z >> 1) ^ (0u - (z & 1u)));
}

void tfin_put(tfin_writer *w, uint64_t value, uint32_t bytes)
{
    uint8_t raw[8];
    for (uint32_t i = 0; i < 8; i++) {
        raw[i] = (uint8_t)(value >> (8u * i));
    }
    tfin_put_bytes(w, raw, bytes);
}

void tfin_put_varint(tfin_writer *w, uint64_t value)
{
    uint8_t raw[10];
    uint32_t size = 0;
    while (value >= 0x80) {
        raw[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    raw[size++] = (uint8_t)value;
    tfin_put_bytes(w, raw, size);
}

void tfin_put_signed(tfin_writer *w, int64_t value)
{
    tfin_put_varint(w, ((uint64_t)value << 1) ^ (0u - ((uint64_t)value >> 63)));
}

void tfin_put_bytes(tfin_writer *w, const void *data, uint32_t size)
{
    if (w->full || (uint32_t)(w->end - w->at) < size) {
        w->full = 1;
        return;
    }
    if (size > 0) {
        memcpy(w->at, data, size);
        w->at += size;
    }
}

void tfin_put_text(tfin_writer *w, const char *text)
{
    uint32_t room = (uint32_t)(w->end - w->at);
    uint32_t size = 0;
    while (size < 255 && size + 1 < room && text[size] != '\0') {
        size++;
    }
    tfin_put(w, size, 1);
    tfin_put_bytes(w, text, size);
}
