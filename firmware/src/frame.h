/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames on a byte stream: COBS between 0x00 delimiters, closed by a CRC-32. Whatever stands
 * between two delimiters and is not a frame costs itself and at most the frame that it runs into.
 */
#ifndef TFIN_FRAME_H
#define TFIN_FRAME_H

#include <stddef.h>
#include <stdint.h>

/* type and sequence before the payload; CRC after it */
enum { TFIN_FRAME_HEAD = 3, TFIN_FRAME_CRC = 4 };

typedef struct tfin_deframer {
    uint8_t *buffer; /* holds one decoded frame */
    uint32_t capacity;
    uint32_t size;
    uint8_t left;  /* bytes of the present COBS block still to come */
    uint8_t zero;  /* the present block ends in a zero, unless the frame ends with it */
    uint8_t state; /* enum below */
    uint32_t good;
    uint32_t damaged; /* not COBS, too short, or the CRC differs */
    uint32_t overlong;
} tfin_deframer;

enum tfin_deframed { TFIN_FRAME_NONE, TFIN_FRAME_GOOD, TFIN_FRAME_BAD };

void tfin_deframer_open(tfin_deframer *d, uint8_t *buffer, uint32_t capacity);

/* Takes one byte. GOOD: buffer holds type, sequence, payload; `size` counts these without the CRC,
 * until the next call. */
enum tfin_deframed tfin_deframe(tfin_deframer *d, uint8_t byte);

/* Appends the CRC at data[size] (there must be space for TFIN_FRAME_CRC more bytes) and sends the
 * frame through tfin_port_write. */
void tfin_frame_send(uint8_t *data, uint32_t size);

#endif
