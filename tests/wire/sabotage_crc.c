/* SPDX-License-Identifier: Apache-2.0 */
/* A terminal that checks no CRC: linked with -Wl,--wrap=tfin_deframe it makes the CRC of every
 * frame right before it is looked at. */
#include "frame.h"
#include "tinyfin.h"

enum { INSIDE = 1 }; /* the deframer's state within a frame */

enum tfin_deframed __real_tfin_deframe(tfin_deframer *d, uint8_t byte);
enum tfin_deframed __wrap_tfin_deframe(tfin_deframer *d, uint8_t byte);

enum tfin_deframed __wrap_tfin_deframe(tfin_deframer *d, uint8_t byte)
{
    if (byte == 0 && d->state == INSIDE && d->left == 0 &&
        d->size >= TFIN_FRAME_HEAD + TFIN_FRAME_CRC) {
        uint32_t size = d->size - TFIN_FRAME_CRC;
        uint32_t crc = tfin_crc32(0, d->buffer, size);
        for (uint32_t i = 0; i < TFIN_FRAME_CRC; i++) {
            d->buffer[size + i] = (uint8_t)(crc >> (8u * i));
        }
    }
    return __real_tfin_deframe(d, byte);
}
