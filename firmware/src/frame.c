/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include "port.h"
#include "tinyfin.h"

enum { BETWEEN, INSIDE, DAMAGED, OVERLONG };

void tfin_deframer_open(tfin_deframer *d, uint8_t *buffer, uint32_t capacity)
{
    *d = (tfin_deframer){0};
    d->buffer = buffer;
    d->capacity = capacity;
}

static void restart(tfin_deframer *d)
{
    d->state = BETWEEN;
    d->left = 0;
    d->zero = 0;
}

static void keep(tfin_deframer *d, uint8_t byte)
{
    if (d->size == d->capacity) {
        d->state = OVERLONG;
        return;
    }
    d->buffer[d->size++] = byte;
}

static enum tfin_deframed finish(tfin_deframer *d)
{
    uint8_t state = d->state;
    uint8_t left = d->left;
    restart(d);
    if (state == BETWEEN) {
        return TFIN_FRAME_NONE; /* two delimiters in a row */
    }
    if (state == OVERLONG) {
        d->overlong++;
        return TFIN_FRAME_BAD;
    }
    if (state == INSIDE && left == 0 && d->size >= TFIN_FRAME_HEAD + TFIN_FRAME_CRC) {
        uint32_t size = d->size - TFIN_FRAME_CRC;
        const uint8_t *tail = d->buffer + size;
        uint32_t crc = (uint32_t)tail[0] | (uint32_t)tail[1] << 8 | (uint32_t)tail[2] << 16 |
                       (uint32_t)tail[3] << 24;
        if (crc == tfin_crc32(0, d->buffer, size)) {
            d->size = size;
            d->good++;
            return TFIN_FRAME_GOOD;
        }
    }
    d->damaged++;
    return TFIN_FRAME_BAD;
}

enum tfin_deframed tfin_deframe(tfin_deframer *d, uint8_t byte)
{
    if (byte == 0) {
        return finish(d);
    }
    if (d->state == BETWEEN) {
        d->state = INSIDE;
        d->size = 0;
    }
    if (d->state != INSIDE) {
        return TFIN_FRAME_NONE;
    }
    if (d->left > 0) {
        d->left--;
        keep(d, byte);
        return TFIN_FRAME_NONE;
    }
    if (d->zero) {
        keep(d, 0);
    }
    d->left = (uint8_t)(byte - 1);
    d->zero = byte != 0xFF;
    return TFIN_FRAME_NONE;
}

void tfin_frame_send(uint8_t *data, uint32_t size)
{
    uint32_t crc = tfin_crc32(0, data, size);
    for (uint32_t i = 0; i < TFIN_FRAME_CRC; i++) {
        data[size++] = (uint8_t)(crc >> (8u * i));
    }
    uint32_t at = 0;
    for (;;) {
        uint32_t run = 0;
        while (at + run < size && run < 254 && data[at + run] != 0) {
            run++;
        }
        uint8_t code = (uint8_t)(run + 1);
        tfin_port_write(&code, 1);
        tfin_port_write(data + at, run);
        at += run;
        if (at == size) {
            break;
        }
        if (run < 254) {
            at++; /* the zero that the block stands for; a last one is followed by an empty block */
        }
    }
    static const uint8_t delimiter = 0;
    tfin_port_write(&delimiter, 1);
}
