/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs plans on a target and compares outputs, accumulators, inputs, the bytes behind the arena and
 * the registers that a kernel has to keep (registers_kept.c). The arena holds random bytes before
 * every inference. The exit code is 0 when nothing differs.
 * tests/engine/test_kernels_on_targets.py makes the cases and says where they are.
 */
#include "network/net_plan.h"
#include "port.h"
#include "registers_kept.h"

typedef struct net_case { /* offsets in net_cases */
    uint32_t plan;
    uint32_t plan_size;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t accumulators; /* 0: the plan keeps none */
    uint32_t rows;
} net_case;

extern const uint8_t net_cases[]; /* u32 count, then cases, then what they point at */

#define GUARD 64u

int main(void);

static uint8_t arena[8192] __attribute__((aligned(16)));
static uint32_t noise = 1;

static void print(const char *label, uint32_t value)
{
    uint8_t text[48];
    uint32_t at = sizeof text;
    text[--at] = '\n';
    do {
        text[--at] = (uint8_t)('0' + value % 10u);
        value /= 10u;
    } while (value != 0);
    uint32_t length = 0;
    while (label[length] != 0) {
        length++;
    }
    while (length != 0) {
        text[--at] = (uint8_t)label[--length];
    }
    tfin_port_write(text + at, sizeof text - at);
}

static uint32_t run_case(const net_case *c)
{
    const uint8_t *plan = net_cases + c->plan;
    const int32_t *expected = (const int32_t *)(const void *)(net_cases + c->accumulators);
    uint32_t bad = 0;
    if (tfin_net_check(plan, c->plan_size, TFIN_KERNELS_ALL) != 0) {
        return 1u << 20;
    }
    uint32_t size = tfin_net_arena_size(plan);
    uint32_t inputs = tfin_net_input_length(plan);
    uint32_t outputs = tfin_net_output_length(plan);
    uint32_t kept = c->accumulators == 0 ? 0 : tfin_net_accumulator_count(plan);
    if (size + GUARD > sizeof arena) {
        return 2u << 20;
    }
    for (uint32_t i = size; i < size + GUARD; i++) {
        arena[i] = 0xA5;
    }
    for (uint32_t row = 0; row < c->rows; row++) {
        const uint8_t *given = net_cases + c->inputs + row * inputs;
        for (uint32_t i = 0; i < size; i++) {
            noise = noise * 1664525u + 1013904223u;
            arena[i] = (uint8_t)(noise >> 24);
        }
        uint8_t *x = (uint8_t *)tfin_net_input(plan, arena);
        for (uint32_t i = 0; i < inputs; i++) {
            x[i] = given[i];
        }
        tfin_net_run(plan, arena);
        for (uint32_t i = 0; i < inputs; i++) {
            bad += x[i] != given[i];
        }
        const uint8_t *y = (const uint8_t *)tfin_net_output(plan, arena);
        for (uint32_t i = 0; i < outputs; i++) {
            bad += y[i] != net_cases[c->outputs + row * outputs + i];
        }
        for (uint32_t i = 0; i < kept; i++) {
            bad += tfin_net_accumulators(plan, arena)[i] != expected[row * kept + i];
        }
    }
    for (uint32_t i = size; i < size + GUARD; i++) {
        bad += arena[i] != 0xA5;
    }
    return bad;
}

int main(void)
{
    const uint32_t count = *(const uint32_t *)(const void *)net_cases;
    const net_case *cases = (const net_case *)(const void *)(net_cases + 16);
    uint32_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bad = run_case(&cases[i]);
        total += bad;
        if (bad != 0) {
            print("case ", i);
            print("  differs ", bad);
        }
    }
    print("cases ", count);
    print("differing ", total);
    print("registers spoilt ", tfin_test_registers_spoilt);
    return total != 0 || tfin_test_registers_spoilt != 0;
}
