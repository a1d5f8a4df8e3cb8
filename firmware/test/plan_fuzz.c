/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutates a plan and runs whatever tfin_net_check lets through, in memory of exactly the promised
 * size. Built with ASan and UBSan, any access outside it stops the program.
 *
 *   plan_fuzz PLAN ROUNDS SEED     prints "refused R ran N"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network/net_plan.h"

static uint64_t random_state;

static uint32_t random_u32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static const uint32_t interesting[] = {
    0u,          1u,          2u,          3u,         4u,       7u,          8u,
    15u,         16u,         31u,         32u,        64u,      127u,        128u,
    255u,        256u,        0xFFFCu,     0xFFFFu,    0x10000u, 0x7FFFFFF0u, 0x7FFFFFFFu,
    0x80000000u, 0xFFFFFFE0u, 0xFFFFFFF0u, 0xFFFFFFFFu};

static void mutate(uint8_t *plan, uint32_t size)
{
    uint32_t front = size < 512u ? size : 512u; /* header and nodes matter most */
    for (uint32_t n = 1u + random_u32() % 4u; n != 0; n--) {
        uint32_t at = random_u32() % (random_u32() % 4u != 0 ? front : size);
        switch (random_u32() % 4u) {
        case 0: plan[at] = (uint8_t)random_u32(); break;
        case 1: plan[at] ^= (uint8_t)(1u << (random_u32() % 8u)); break;
        case 2: {
            uint32_t value =
                interesting[random_u32() % (sizeof interesting / sizeof interesting[0])];
            memcpy(plan + (at & ~3u), &value, 4);
            break;
        }
        default: {
            uint32_t value;
            memcpy(&value, plan + (at & ~3u), 4);
            value += (random_u32() % 65u - 32u) * (random_u32() % 2u != 0 ? 1u : 8u);
            memcpy(plan + (at & ~3u), &value, 4);
            break;
        }
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: plan_fuzz PLAN ROUNDS SEED\n");
        return 2;
    }
    FILE *file = fopen(argv[1], "rb");
    if (file == NULL) {
        perror(argv[1]);
        return 2;
    }
    static uint8_t original[1u << 20];
    uint32_t size = (uint32_t)fread(original, 1, sizeof original, file);
    fclose(file);
    random_state = strtoull(argv[3], NULL, 10) * 0x9E3779B97F4A7C15u + 1u;
    unsigned long refused = 0, ran = 0;
    for (unsigned long round = strtoul(argv[2], NULL, 10); round != 0; round--) {
        uint32_t length = random_u32() % 16u == 0 ? random_u32() % (size + 1u) & ~15u : size;
        /* length is a multiple of 16 */
        uint8_t *plan = aligned_alloc(16, length != 0 ? length : 16u);
        memcpy(plan, original, length);
        if (length >= TFIN_PLAN_HEADER_BYTES) {
            mutate(plan, length);
            if (random_u32() % 2u == 0) {
                memcpy(plan + TFIN_PLAN_SIZE, &length, 4);
            }
        }
        if (tfin_net_check(plan, length, TFIN_KERNELS_ALL) != 0 ||
            tfin_net_arena_size(plan) > 1u << 20) {
            refused++;
        } else {
            uint32_t arena_size = tfin_net_arena_size(plan);
            uint8_t *arena = aligned_alloc(16, arena_size != 0 ? arena_size : 16u);
            memset(arena, 0xA5, arena_size);
            int8_t *input = tfin_net_input(plan, arena);
            for (uint32_t i = 0; i < tfin_net_input_length(plan); i++) {
                input[i] = (int8_t)random_u32();
            }
            tfin_net_run(plan, arena);
            volatile int8_t last = tfin_net_output(plan, arena)[tfin_net_output_length(plan) - 1u];
            (void)last;
            free(arena);
            ran++;
        }
        free(plan);
    }
    printf("refused %lu ran %lu\n", refused, ran);
    return 0;
}
