/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network alone on a target, for `tinyfin bench`: takes int8 inputs over the wire, runs the
 * plan, gives outputs, ticks and stack back. Speaks HELLO, INFER, DETAIL_READ and EXIT of
 * docs/formats/wire.md. No pack: the plan is an array of bench_plan.c.
 */
#include <string.h>

#include "answers.h"
#include "bench_plan.h"
#include "bytes.h"
#include "frame.h"
#include "port.h"
#include "tinyfin_network.h"
#include "wire.h"

enum { FRAME_BYTES = 1024, DETAIL_OUTPUT = 2 };

static uint8_t arena[BENCH_ARENA_BYTES] __attribute__((aligned(16)));
static int8_t input[BENCH_INPUT_BYTES];
static uint8_t rx_frame[FRAME_BYTES];
static uint8_t tx_frame[FRAME_BYTES];
static tfin_deframer rx;
static uint32_t session;
static uint32_t boot_nonce;
static int check_error;

static tfin_writer begin(uint8_t type, uint16_t tag)
{
    tfin_writer w = {tx_frame, tx_frame + FRAME_BYTES - TFIN_FRAME_CRC, 0};
    tfin_put(&w, type, 1);
    tfin_put(&w, tag, 2);
    return w;
}

static void send(const tfin_writer *w)
{
    tfin_frame_send(tx_frame, (uint32_t)(w->at - tx_frame));
}

static void send_error(uint16_t tag, uint8_t code)
{
    tfin_writer w = begin(TFIN_ERROR, tag);
    tfin_put(&w, code, 1);
    tfin_put_signed(&w, check_error);
    tfin_put(&w, 0, 2);
    tfin_put(&w, boot_nonce, 4);
    tfin_put_text(&w, "");
    send(&w);
}

static void on_hello(uint16_t tag, tfin_reader *in)
{
    static const uint8_t nothing[16];
    uint64_t version = tfin_get(in, 1);
    uint32_t wanted = (uint32_t)tfin_get(in, 4);
    if (in->bad || version != TFIN_WIRE_VERSION) {
        send_error(tag, TFIN_WIRE_VERSION_REFUSED);
        return;
    }
    session = wanted;
    tfin_hello hello = {
        .capabilities = TFIN_CAN_TICKS | TFIN_CAN_STACK | TFIN_CAN_INFER | TFIN_CAN_EXIT,
        .session = session,
        .boot_nonce = boot_nonce,
        .open_error = check_error,
        .pack_id = nothing,
        .model_id = nothing,
        .memory_bytes = BENCH_ARENA_BYTES,
        .pack_bytes = BENCH_PLAN_BYTES,
        .frame_bytes = FRAME_BYTES,
        .receive_bytes = FRAME_BYTES,
        .window = 1,
        .events = 1,
        .inputs = BENCH_INPUT_BYTES,
        .outputs = BENCH_OUTPUT_BYTES,
    };
    tfin_writer w = begin(TFIN_HELLO, tag);
    tfin_put_hello(&w, &hello);
    send(&w);
}

static void on_infer(uint16_t tag, tfin_reader *in)
{
    uint32_t flags = (uint32_t)tfin_get(in, 1);
    uint32_t offset = (uint32_t)tfin_get(in, 2);
    uint32_t size = tfin_left(in);
    if (in->bad || check_error != TFIN_OK || offset > BENCH_INPUT_BYTES ||
        size > BENCH_INPUT_BYTES - offset) {
        send_error(tag, TFIN_WIRE_RANGE);
        return;
    }
    if (size > 0) {
        memcpy(input + offset, in->at, size);
    }
    tfin_writer w = begin(TFIN_INFERRED, tag);
    if ((flags & TFIN_INFER_RUN) != 0) {
        uint32_t stack;
        memcpy(tfin_net_input(bench_plan, arena), input, BENCH_INPUT_BYTES);
        uint32_t ticks = tfin_measure_network(bench_plan, arena, &stack);
        tfin_put_inferred(&w, TFIN_OK, 0, ticks, stack, tfin_net_output(bench_plan, arena),
                          BENCH_OUTPUT_BYTES);
    }
    send(&w);
}

static void on_detail(uint16_t tag, tfin_reader *in)
{
    uint32_t what = (uint32_t)tfin_get(in, 1);
    uint32_t offset = (uint32_t)tfin_get(in, 2);
    if (in->bad || what != DETAIL_OUTPUT || offset > BENCH_OUTPUT_BYTES) {
        send_error(tag, TFIN_WIRE_RANGE);
        return;
    }
    tfin_writer w = begin(TFIN_DETAIL, tag);
    tfin_put_detail(&w, what, offset, tfin_net_output(bench_plan, arena), BENCH_OUTPUT_BYTES);
    send(&w);
}

int main(void)
{
    tfin_deframer_open(&rx, rx_frame, sizeof rx_frame);
    boot_nonce = tfin_port_entropy();
    check_error = tfin_net_check(bench_plan, BENCH_PLAN_BYTES, TFIN_KERNELS_ALL);
    for (;;) {
        int byte = tfin_port_read();
        if (byte < 0 || tfin_deframe(&rx, (uint8_t)byte) != TFIN_FRAME_GOOD) {
            continue;
        }
        tfin_reader in = {rx_frame + TFIN_FRAME_HEAD, rx_frame + rx.size, 0};
        uint16_t tag = (uint16_t)(rx_frame[1] | (uint32_t)rx_frame[2] << 8);
        switch (rx_frame[0]) {
        case TFIN_HELLO_REQUEST: on_hello(tag, &in); break;
        case TFIN_INFER: on_infer(tag, &in); break;
        case TFIN_DETAIL_READ: on_detail(tag, &in); break;
        case TFIN_EXIT: tfin_port_exit((int)tfin_get(&in, 1)); break;
        default: send_error(tag, TFIN_WIRE_UNKNOWN); break;
        }
    }
}
