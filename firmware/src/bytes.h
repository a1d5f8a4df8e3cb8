/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing a payload: little-endian numbers and varints, never past the end. */
#ifndef TFIN_BYTES_H
#define TFIN_BYTES_H

#include <stdint.h>

typedef struct tfin_reader {
    const uint8_t *at;
    const uint8_t *end;
    /* something was read that is not there, or a varint is too long; every later read gives 0 */
    uint8_t bad;
} tfin_reader;

typedef struct tfin_writer {
    uint8_t *at;
    uint8_t *end;
    uint8_t full; /* something did not fit; nothing of it was written */
} tfin_writer;

uint32_t tfin_left(const tfin_reader *r);
uint64_t tfin_get(tfin_reader *r, uint32_t bytes); /* 1 to 8 bytes, little-endian */
uint64_t tfin_get_varint(tfin_reader *r);          /* LEB128, at most 10 bytes, at most 64 bits */
int64_t tfin_get_signed(tfin_reader *r);           /* zigzag varint */

void tfin_put(tfin_writer *w, uint64_t value, uint32_t bytes);
void tfin_put_varint(tfin_writer *w, uint64_t value);
void tfin_put_signed(tfin_writer *w, int64_t value);
void tfin_put_bytes(tfin_writer *w, const void *data, uint32_t size);
/* one length byte, then at most 255 bytes; cut when it does not fit */
void tfin_put_text(tfin_writer *w, const char *text);

#endif
