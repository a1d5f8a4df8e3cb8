/* SPDX-License-Identifier: Apache-2.0 */
/* A terminal that keeps no answers: linked with
 * -Wl,--wrap=tfin_deframe,--wrap=tfin_frame_send it does a repeated frame again, as a new
 * one, and gives the answer the number that the host waits for. */
#include "frame.h"
#include "wire.h"

enum { WINDOW = 64, EXPECTED_AT = TFIN_FRAME_HEAD + 2 };

static uint32_t session;
static uint16_t next; /* the host's count */
/* how many frames were done again: the application is ahead of the host by so many */
static uint16_t again;
static uint16_t number; /* of the host's frame that is being done */

enum tfin_deframed __real_tfin_deframe(tfin_deframer *d, uint8_t byte);
void __real_tfin_frame_send(uint8_t *data, uint32_t size);
enum tfin_deframed __wrap_tfin_deframe(tfin_deframer *d, uint8_t byte);
void __wrap_tfin_frame_send(uint8_t *data, uint32_t size);

static uint32_t get(const uint8_t *at, uint32_t bytes)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        value |= (uint32_t)at[i] << (8u * i);
    }
    return value;
}

static void put(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

enum tfin_deframed __wrap_tfin_deframe(tfin_deframer *d, uint8_t byte)
{
    enum tfin_deframed what = __real_tfin_deframe(d, byte);
    uint8_t *frame = d->buffer;
    if (what != TFIN_FRAME_GOOD) {
        return what;
    }
    if (frame[0] == TFIN_HELLO_REQUEST && get(frame + 4, 4) != session) {
        session = get(frame + 4, 4);
        next = (uint16_t)get(frame + 8, 2);
        again = 0;
    }
    if (frame[0] == TFIN_EVENTS || frame[0] == TFIN_STATE_RESET || frame[0] == TFIN_STATE_WRITE) {
        number = (uint16_t)get(frame + 1, 2);
        uint16_t behind = (uint16_t)(next - number);
        if (behind == 0) {
            next++;
        } else if (behind <= WINDOW) {
            again++;
            put(frame + 1, (uint16_t)(next - 1));
        }
        put(frame + 1, (uint16_t)(get(frame + 1, 2) + again));
    }
    return what;
}

void __wrap_tfin_frame_send(uint8_t *data, uint32_t size)
{
    if (data[0] == TFIN_VERDICTS || data[0] == TFIN_ACK) {
        put(data + 1, number);
    } else if (data[0] == TFIN_ERROR) {
        put(data + EXPECTED_AT, (uint16_t)(get(data + EXPECTED_AT, 2) - again));
    }
    __real_tfin_frame_send(data, size);
}
