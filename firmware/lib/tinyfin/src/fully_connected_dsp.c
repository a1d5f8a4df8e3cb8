/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FULLY_CONNECTED for cores with the Arm DSP instructions (Cortex-M4, M7, M33, M55...).
 *
 * Four weights in a word are two halfwords, u0 + 256 s1 and u2 + 256 s3 (plan.md). Inputs are expanded once per layer into pairs of words,
 *
 *   p = (x1 - 127, x3 - 127)      q = (256 x0 - p0, 256 x2 - p1)
 *
 * p lies in [-255, 0] and 256 x in [-32768, 32512], so q lies in [-32768, 32767]: it just fits. Then
 *
 *   SMLAD(word, p) + SMLAD(UXTB16(word), q) = 256 (u0 x0 + s1 (x1 - 127) + u2 x2 + s3 (x3 - 127))
 *
 * costs three instructions for four weights of one row. The sum is kept times 256, modulo 2^32; FC_NARROW promises 24 bits, so nothing is lost.
 *
 * Requantisation is that of fully_connected.c in one instruction less than it seems: SMMLAR(a, 2m - 2^32, a) is
 * (a * (2m - 2^32) + a * 2^32 + 2^31) >> 32 = (a * m + 2^30) >> 31, and with Z = 2z + 1
 * (((v + (v >> 31)) >> shift1) + 1) >> 1 + z = (((v + (v >> 31)) >> shift1) + Z) >> 1, which SSAT shifts and saturates at once.
 * |a| <= 2^30 keeps the addition of Z inside 32 bits.
 */
#include "net.h"

#ifdef __ARM_FEATURE_DSP

/* The instructions as functions of words; <arm_acle.h> mixes types that -Wconversion refuses. */
static inline uint32_t ssub16(uint32_t a, uint32_t b)
{
    uint32_t r;
    __asm__("ssub16 %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

static inline uint32_t sxtb16_odd(uint32_t a)
{
    uint32_t r;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(a));
    return r;
}

static inline uint32_t uxtb16(uint32_t a)
{
    uint32_t r;
    __asm__("uxtb16 %0, %1" : "=r"(r) : "r"(a));
    return r;
}

static inline uint32_t smlad(uint32_t a, uint32_t b, uint32_t sum)
{
    uint32_t r;
    __asm__("smlad %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(sum));
    return r;
}

/* What the loop below reads; copied to its stack frame. */
struct groups_job {
    const uint32_t *expanded; /* p, q for every block */
    uint32_t rounds;          /* of four blocks, the first one perhaps shorter */
    uint32_t start;           /* 256 times the start of every sum */
    uint32_t multiplier_q32;
    int32_t shift1;
    int32_t z;                /* 2 * zero point + 1 */
    const int8_t *end;        /* of the outputs that come in groups of four */
    uint32_t skip;            /* bytes of code that the first round skips */
};

#define BLOCK_CODE_BYTES 56u

/* Four columns of four rows: 14 instructions, BLOCK_CODE_BYTES long. */
#define BLOCK                  \
    "ldmia.w r0!, {r5-r8}\n"   \
    "ldrd r3, r4, [r1], #8\n"  \
    "smlad r9, r5, r3, r9\n"   \
    "smlad r10, r6, r3, r10\n" \
    "smlad r11, r7, r3, r11\n" \
    "smlad r12, r8, r3, r12\n" \
    "uxtb16 r5, r5\n"          \
    "uxtb16 r6, r6\n"          \
    "uxtb16 r7, r7\n"          \
    "uxtb16 r8, r8\n"          \
    "smlad r9, r5, r4, r9\n"   \
    "smlad r10, r6, r4, r10\n" \
    "smlad r11, r7, r4, r11\n" \
    "smlad r12, r8, r4, r12\n"

/* Row accumulator `a`; r5 multiplier, r6 shift1, r7 Z. */
#define REQUANTISE(a)                  \
    "smmlar " a ", " a ", r5, " a "\n" \
    "add " a ", " a ", " a ", asr #31\n" \
    "asr " a ", " a ", r6\n"           \
    "add " a ", " a ", r7\n"           \
    "ssat " a ", #8, " a ", asr #1\n"  \
    "strb " a ", [lr], #1\n"

/* All rows that come in groups of four; at least one group. Returns where the weights go on. */
__attribute__((naked, noinline)) static const uint8_t *groups(const uint8_t *weights __attribute__((unused)),
                                                              int8_t *output __attribute__((unused)),
                                                              const struct groups_job *job __attribute__((unused)),
                                                              uint32_t per_channel __attribute__((unused)))
{
    __asm__ volatile(
        ".syntax unified\n"
        "push {r4-r11, lr}\n"
        "mov lr, r1\n"
        "cmp r3, #0\n"
        "ite eq\n"
        "adreq r9, 3f\n"
        "adrne r9, 4f\n"
        "ldm r2, {r1-r8}\n"
        "adr r10, 2f\n"
        "add r8, r8, r10\n"
        "orr r8, r8, #1\n" /* Thumb */
        "orr r9, r9, #1\n"
        "push {r1-r9}\n"
        "1:\n"
        "ldm sp, {r1, r2, r9}\n"
        "mov r10, r9\n"
        "mov r11, r9\n"
        "mov r12, r9\n"
        "ldr pc, [sp, #28]\n"
        ".balign 4\n"
        "2:\n" BLOCK BLOCK BLOCK BLOCK
        "subs r2, r2, #1\n"
        "bne 2b\n"
        "ldmia r0!, {r5-r8}\n"
        "add r9, r5, r9, asr #8\n"
        "add r10, r6, r10, asr #8\n"
        "add r11, r7, r11, asr #8\n"
        "add r12, r8, r12, asr #8\n"
        "ldr r7, [sp, #20]\n"
        "ldr pc, [sp, #32]\n"
        ".balign 4\n"
        "3:\n" /* per-tensor */
        "ldrd r5, r6, [sp, #12]\n"
        REQUANTISE("r9") REQUANTISE("r10") REQUANTISE("r11") REQUANTISE("r12")
        "ldr r1, [sp, #24]\n"
        "cmp lr, r1\n"
        "bne 1b\n"
        "b 5f\n"
        ".balign 4\n"
        "4:\n" /* per-channel */
        "ldmia r0!, {r5, r6}\n" REQUANTISE("r9")
        "ldmia r0!, {r5, r6}\n" REQUANTISE("r10")
        "ldmia r0!, {r5, r6}\n" REQUANTISE("r11")
        "ldmia r0!, {r5, r6}\n" REQUANTISE("r12")
        "ldr r1, [sp, #24]\n"
        "cmp lr, r1\n"
        "bne 1b\n"
        "5:\n"
        "add sp, sp, #36\n"
        "pop {r4-r11, pc}\n");
}

/* Writes p and q of every block; returns the start of the sums: -128 * 256 * (sum of x in even columns). */
static uint32_t expand(const uint8_t *input, uint32_t *to, uint32_t blocks)
{
    const uint32_t *x = (const uint32_t *)(const void *)__builtin_assume_aligned(input, 8);
    uint32_t start = 0;
    do {
        uint32_t word = *x++;
        uint32_t p = ssub16(sxtb16_odd(word), 0x007F007Fu);
        uint32_t even = word << 8 & 0xFF00FF00u;
        start = smlad(even, 0xFF80FF80u, start);
        to[0] = p;
        to[1] = ssub16(even, p);
        to += 2;
    } while (--blocks != 0);
    return start;
}

/* The rows that come in groups are only saturated to int8 so far. */
static void clamp(const tfin_node *node, int8_t *y)
{
    for (const int8_t *end = y + (node->outputs & ~3u); y != end; y++) {
        int32_t v = *y;
        v = v < node->activation_min ? node->activation_min : v;
        *y = (int8_t)(v > node->activation_max ? node->activation_max : v);
    }
}

void tfin_fully_connected(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    uint32_t row = node->outputs & ~3u;
    if ((node->flags & TFIN_FC_NARROW) == 0 || ((node->flags & TFIN_FC_ACCUMULATORS) != 0 && row != 0)) {
        tfin_fully_connected_portable(node, plan, arena);
        return;
    }
    uint32_t blocks = tfin_fc_blocks(node);
    uint32_t *expanded = (uint32_t *)(void *)__builtin_assume_aligned(arena + node->scratch, 8);
    uint32_t start = expand(arena + node->input, expanded, blocks);
    uint32_t per_channel = node->flags & TFIN_FC_PER_CHANNEL;
    const uint8_t *weights = plan + node->constants;
    if (row != 0) {
        int8_t *output = (int8_t *)arena + node->output;
        struct groups_job job;
        job.expanded = expanded;
        job.rounds = (blocks + 3u) >> 2;
        job.start = start;
        job.multiplier_q32 = node->multiplier_q32;
        job.shift1 = node->shift1;
        job.z = 2 * node->zero_point + 1;
        job.end = output + row;
        job.skip = ((0u - blocks) & 3u) * BLOCK_CODE_BYTES;
        weights = groups(weights, output, &job, per_channel);
        if (node->activation_min != -128 || node->activation_max != 127) {
            clamp(node, output);
        }
    }
    for (; row != node->outputs; row++) {
        const uint32_t *w = (const uint32_t *)(const void *)__builtin_assume_aligned(weights, 4);
        const uint32_t *x = expanded;
        uint32_t sum = start;
        for (uint32_t n = blocks; n != 0; n--) {
            uint32_t word = *w++;
            sum = smlad(word, x[0], sum);
            sum = smlad(uxtb16(word), x[1], sum);
            x += 2;
        }
        weights = (const uint8_t *)w;
        tfin_fc_finish(node, plan, arena, row, (uint32_t)((int32_t)sum >> 8), weights, weights + 4);
        weights += per_channel != 0 ? 12 : 4;
    }
}

#else
typedef int tfin_not_for_this_core; /* ISO C wants a declaration */
#endif
