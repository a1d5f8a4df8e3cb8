/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What more than one program answers: the terminal application, the network alone
 * (firmware/network_only), the instrument (firmware/instrument). Format: docs/formats/wire.md.
 * Inline, so that what a program leaves constant costs it nothing.
 */
#ifndef TFIN_ANSWERS_H
#define TFIN_ANSWERS_H

#include "bytes.h"
#include "config.h"
#include "port.h"
#include "tinyfin_network.h"
#include "wire.h"

typedef struct tfin_hello {
    uint32_t capabilities; /* enum tfin_capability, or'ed */
    uint32_t session;
    uint32_t boot_nonce;
    uint32_t expected; /* sequence number of the next ordered frame */
    int open_error;
    const uint8_t *pack_id; /* 16 bytes */
    const uint8_t *model_id;
    uint32_t state_bytes;
    uint32_t memory_bytes;
    uint32_t pack_bytes;
    uint32_t frame_bytes;
    uint32_t receive_bytes;
    uint32_t window;
    uint32_t events;
    uint32_t scores;
    uint32_t fields;
    uint32_t features;
    uint32_t inputs;
    uint32_t outputs;
} tfin_hello;

static inline void tfin_put_hello(tfin_writer *w, const tfin_hello *h)
{
    tfin_put(w, TFIN_WIRE_VERSION, 1);
    tfin_put(w, 0, 1);
    tfin_put(w, h->capabilities, 2);
    tfin_put(w, h->session, 4);
    tfin_put(w, h->boot_nonce, 4);
    tfin_put(w, h->expected, 2);
    tfin_put(w, (uint16_t)h->open_error, 2);
    tfin_put(w, TFIN_VERSION, 4);
    tfin_put_bytes(w, h->pack_id, 16);
    tfin_put_bytes(w, h->model_id, 16);
    tfin_put(w, h->state_bytes, 4);
    tfin_put(w, h->memory_bytes, 4);
    tfin_put(w, h->pack_bytes, 4);
    tfin_put(w, tfin_port_tick_hz, 4);
    tfin_put(w, tfin_port_tick_mask, 4);
    tfin_put(w, h->frame_bytes, 2);
    tfin_put(w, h->receive_bytes, 2);
    tfin_put(w, h->window, 1);
    tfin_put(w, h->events, 1);
    tfin_put(w, h->scores, 1);
    tfin_put(w, h->fields, 1);
    tfin_put(w, h->features, 2);
    tfin_put(w, h->inputs, 2);
    tfin_put(w, h->outputs, 2);
    tfin_put_text(w, TFIN_TARGET);
    tfin_put_text(w, TFIN_BUILD_ID);
}

/* The running digest, continued over features and network output of the event scored last. */
static inline uint32_t tfin_digest_scored(uint32_t digest, const tfin_engine *engine)
{
    uint32_t count;
    const int16_t *features = tfin_features(engine, &count);
    digest = tfin_crc32(digest, features, count * 2u);
    const int8_t *output = tfin_network_output(engine, &count);
    return count > 0 ? tfin_crc32(digest, output, count) : digest;
}

/* As much of `size` bytes as fits. */
static inline void tfin_put_part(tfin_writer *w, const void *data, uint32_t size)
{
    uint32_t room = (uint32_t)(w->end - w->at);
    tfin_put_bytes(w, data, size < room ? size : room);
}

/* `total` bytes are there, and offset <= total. */
static inline void tfin_put_detail(tfin_writer *w, uint32_t what, uint32_t offset, const void *data,
                                   uint32_t total)
{
    tfin_put(w, what, 1);
    tfin_put(w, offset, 2);
    tfin_put(w, total, 2);
    if (total > offset) {
        tfin_put_part(w, (const uint8_t *)data + offset, total - offset);
    }
}

/* flags of INFER */
enum { TFIN_INFER_RUN = 1, TFIN_INFER_MEASURE = 2 };

static inline void tfin_put_inferred(tfin_writer *w, int error, int32_t raw, uint32_t ticks,
                                     uint32_t stack, const int8_t *output, uint32_t outputs)
{
    tfin_put_signed(w, error);
    tfin_put_signed(w, raw);
    tfin_put_varint(w, ticks);
    tfin_put_varint(w, stack);
    tfin_put_varint(w, outputs);
    tfin_put_part(w, output, outputs);
}

/* Runs the network on the input that is in the arena, which a run leaves intact, and nothing else
 * between the two readings. Ticks, and bytes of stack; 0 where the port does not measure. */
static inline uint32_t tfin_measure_network(const uint8_t *plan, uint8_t *arena, uint32_t *stack)
{
    tfin_port_stack_paint();
    uint32_t start = tfin_port_ticks();
    tfin_net_run(plan, arena);
    uint32_t ticks = (tfin_port_ticks() - start) & tfin_port_tick_mask;
    *stack = tfin_port_stack_bytes() - tfin_port_stack_painted_free() - tfin_port_stack_depth();
    return ticks;
}

#endif
