/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FULLY_CONNECTED for the Xtensa lx106 (ESP8266): MULL gives the low half of a product, MUL16U the
 * whole of one of 16 bits; loads of bytes extend no sign, loads of halfwords do.
 *
 * Layout CANONICAL: a halfword h = u0 + 256 s1 and s1 = h >> 8 give the sum of two columns,
 * h x0 - s1 (256 x0 - (x1 - 127)) = u0 x0 + s1 (x1 - 127). Both factors fit 16 bits (plan.md) and
 * are made once per layer. Six instructions for two multiply-accumulates of one row, and two loads
 * of factors serve four rows: 52 for 16, 55 with the loop (3.44 each; floor 3.25).
 *
 * Requantisation (fully_connected.c): v = (acc * multiplier_q32 + 2^31) >> 32 from 16-bit halves
 * acc = 2^16 h + l, h signed, and multiplier_q32 = 2^16 H + L:
 *
 *   t = h L + (l L >> 16) + 2^15    at most (2^15 - 1) (2^16 - 1) + 2^16 - 2 + 2^15 = 2^31 - 1,
 *                                   so t fits 32 bits signed
 *   u = l H + (t mod 2^16)          at most (2^16 - 1)^2 + 2^16 - 1, so u fits 32 bits unsigned
 *   v = h H + (t >> 16) + (u >> 16)
 *
 * which is 14 instructions, because MUL16U takes l and L out of their words by itself. With Z as in
 * fully_connected_rv32.c an output costs 26, and 8 for its share of the group of four rows; 6 more
 * when rows have multipliers of their own.
 */
#include "../network/net_plan.h"

#ifdef TFIN_FAMILY_LX106

/* wrong on purpose: the last row meets two weights of the one before */
#ifdef TFIN_SABOTAGE_KERNEL
#define LAST_ROW "8"
#else
#define LAST_ROW "12"
#endif

#ifdef TFIN_TEST_SINGLE_ROUNDING
#define AWAY_FROM_ZERO "nop.n\n" /* wrong on purpose: the tests must notice */
#else
#define AWAY_FROM_ZERO "add.n a12, a12, a13\n"
#endif

/* clang-format off */
/* Factors of two columns. */
#define EXPAND(at)                       \
    "l16si a5, a6, " at "\n"             \
    "srai a8, a5, 8\n"                   \
    "slli a5, a5, 24\n"                  \
    "srai a9, a5, 24\n"                  \
    "srai a5, a5, 16\n"                  \
    "sub a5, a5, a8\n"                   \
    "addi a5, a5, 127\n"                 \
    "s16i a9, a7, 2 * " at "\n"          \
    "s16i a5, a7, 2 * " at " + 2\n"      \
    "sub a10, a10, a9\n"

/* Two columns of one row. */
#define PAIR(sum, at)              \
    "l16si a0, a2, " at "\n"       \
    "srai a15, a0, 8\n"            \
    "mull a0, a0, a13\n"           \
    "mull a15, a15, a14\n"         \
    "add.n " sum ", " sum ", a0\n" \
    "sub " sum ", " sum ", a15\n"

#define PAIRS(factor, at, last)              \
    "l16si a13, a11, " factor "\n"           \
    "l16si a14, a11, " factor " + 2\n"       \
    PAIR("a7", at) PAIR("a8", at " + 4") PAIR("a9", at " + 8") PAIR("a10", at " + " last)

/* The multiplier of a row of its own. */
#define MULTIPLIER(at)             \
    "l32i a12, a2, " at "\n"       \
    "extui a4, a12, 0, 16\n"       \
    "extui a5, a12, 16, 16\n"

/* v in a12, from the sum in a11. */
#define ROUNDED_HIGH               \
    "srai a12, a11, 16\n"          \
    "mul16u a13, a11, a4\n"        \
    "extui a13, a13, 16, 16\n"     \
    "mull a0, a12, a4\n"           \
    "add.n a13, a13, a0\n"         \
    "add.n a13, a13, a6\n"         \
    "mul16u a11, a11, a5\n"        \
    "extui a0, a13, 0, 16\n"       \
    "add.n a11, a11, a0\n"         \
    "extui a11, a11, 16, 16\n"     \
    "mull a12, a12, a5\n"          \
    "srai a13, a13, 16\n"          \
    "add.n a12, a12, a13\n"        \
    "add.n a12, a12, a11\n"

/* Clamps a12 and stores it. */
#define STORE(at)                  \
    "bge a12, a8, 1f\n"            \
    "mov.n a12, a8\n"              \
    "1:\n"                         \
    "bge a9, a12, 1f\n"            \
    "mov.n a12, a9\n"              \
    "1:\n"                         \
    "s8i a12, a3, " at "\n"

/* One row of a narrow layer. */
#define ROW(at)                    \
    "l32i.n a11, a10, 4 * " at "\n"  \
    "beqz a14, 1f\n"               \
    MULTIPLIER("8 * " at)          \
    "l32i.n a12, a2, 8 * " at " + 4\n" \
    "ssr a12\n"                    \
    "1:\n" ROUNDED_HIGH            \
    "srai a13, a12, 31\n" AWAY_FROM_ZERO \
    "sra a12, a12\n"               \
    "add.n a12, a12, a7\n"         \
    "srai a12, a12, 1\n" STORE(at)

/*
 * Numbers are offsets in tfin_node and, for a3 at first, in the plan's header. The compiler saves
 * what the code names as its own.
 *
 * Frame: 0 sums of four rows, 16 start of every sum, 20 factors, 24 their end, 28 bytes of a
 * group's weights, 32 Z, 36 and 40 clamps, 44 bytes of two rows' multipliers (0: per-tensor),
 * 48 flags (2 not narrow, 4 accumulators), 52 end of the output, 56 accumulators, 60 return
 * address, 64 shift1. a2 constants, a3 output, a4 and a5 the multiplier's halves, a6 2^15; sums in
 * a7 to a10 while columns run. Later a7 Z, a8 and a9 clamps, a10 where the next sum is, a14 bytes
 * of two rows' multipliers, a15 end of the sums.
 */
void tfin_fully_connected(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    register const tfin_node *a2 __asm__("a2") = node;
    register const uint8_t *a3 __asm__("a3") = plan;
    register uint8_t *a4 __asm__("a4") = arena;
    __asm__ volatile(
        "addi a1, a1, -80\n"
        "s32i.n a0, a1, 60\n"
        "l32i.n a6, a2, 4\n"  /* input */
        "l32i.n a7, a2, 32\n" /* scratch */
        "l16ui a8, a2, 12\n"  /* inputs */
        "add.n a6, a6, a4\n"
        "add.n a7, a7, a4\n"
        "addi.n a8, a8, 3\n"
        "srli a8, a8, 2\n"
        "slli a9, a8, 4\n"
        "s32i.n a9, a1, 28\n"
        "addx8 a11, a8, a7\n"
        "s32i.n a7, a1, 20\n"
        "s32i.n a11, a1, 24\n"
        "movi.n a10, 0\n"
        "2:\n" EXPAND("0") EXPAND("2")
        "addi.n a6, a6, 4\n"
        "addi.n a7, a7, 8\n"
        "bne a7, a11, 2b\n"
        "slli a10, a10, 7\n" /* -128 * (sum of x in even columns) */
        "s32i.n a10, a1, 16\n"
        "movi.n a6, 1\n"
        "l8ui a7, a2, 28\n" /* zero point */
        "slli a7, a7, 24\n"
        "srai a7, a7, 23\n"
        "add.n a7, a7, a6\n"
        "s32i.n a7, a1, 32\n"
        "slli a6, a6, 15\n"
        "l8ui a7, a2, 29\n"
        "slli a7, a7, 24\n"
        "srai a7, a7, 24\n"
        "s32i.n a7, a1, 36\n"
        "l8ui a7, a2, 30\n"
        "slli a7, a7, 24\n"
        "srai a7, a7, 24\n"
        "s32i.n a7, a1, 40\n"
        "l8ui a7, a2, 1\n" /* flags */
        "extui a8, a7, 0, 1\n"
        "slli a8, a8, 4\n"
        "s32i.n a8, a1, 44\n"
        "movi.n a8, 2\n"
        "xor a7, a7, a8\n"
        "movi.n a8, 6\n"
        "and a7, a7, a8\n"
        "s32i.n a7, a1, 48\n"
        "l32i.n a7, a2, 24\n" /* shift1 */
        "s32i a7, a1, 64\n"
        "ssr a7\n"
        "l32i.n a5, a2, 8\n" /* output */
        "l16ui a8, a2, 14\n" /* outputs */
        "add.n a5, a5, a4\n"
        "add.n a8, a8, a5\n"
        "s32i.n a8, a1, 52\n"
        "l32i.n a8, a3, 40\n" /* accumulators */
        "add.n a8, a8, a4\n"
        "s32i.n a8, a1, 56\n"
        "l32i.n a8, a2, 20\n" /* multiplier_q32 */
        "l32i.n a2, a2, 16\n" /* constants */
        "add.n a2, a2, a3\n"
        "mov.n a3, a5\n"
        "extui a4, a8, 0, 16\n"
        "extui a5, a8, 16, 16\n"

        "2:\n" /* a group of four rows */
        "l32i.n a0, a1, 28\n"
        "l32i.n a13, a1, 16\n"
        "add.n a0, a0, a2\n"
        "l32i.n a7, a0, 0\n"
        "l32i.n a8, a0, 4\n"
        "l32i.n a9, a0, 8\n"
        "l32i.n a10, a0, 12\n"
        "add.n a7, a7, a13\n"
        "add.n a8, a8, a13\n"
        "add.n a9, a9, a13\n"
        "add.n a10, a10, a13\n"
        "l32i.n a11, a1, 20\n"
        "l32i.n a12, a1, 24\n"
        "3:\n" PAIRS("0", "0", LAST_ROW) PAIRS("4", "2", "12")
        "addi a2, a2, 16\n"
        "addi.n a11, a11, 8\n"
        "bne a11, a12, 3b\n"
        "s32i.n a7, a1, 0\n"
        "s32i.n a8, a1, 4\n"
        "s32i.n a9, a1, 8\n"
        "s32i.n a10, a1, 12\n"
        "addi a2, a2, 16\n"
        "l32i.n a0, a1, 48\n"
        "l32i.n a14, a1, 44\n"
        "beqz a0, 4f\n"
        "bbci a0, 2, 1f\n"
        "l32i.n a11, a1, 56\n"
        "s32i.n a7, a11, 0\n"
        "s32i.n a8, a11, 4\n"
        "s32i.n a9, a11, 8\n"
        "s32i.n a10, a11, 12\n"
        "addi a11, a11, 16\n"
        "s32i.n a11, a1, 56\n"
        "1:\n"
        "4:\n"
        "l32i.n a8, a1, 36\n"
        "l32i.n a9, a1, 40\n"
        "mov.n a10, a1\n"
        "addi a15, a1, 16\n"
        "bbsi a0, 1, 6f\n"
        "l32i.n a7, a1, 32\n"
        "5:\n" ROW("0") ROW("1")
        "add.n a2, a2, a14\n"
        "addi.n a3, a3, 2\n"
        "addi.n a10, a10, 8\n"
        "bne a10, a15, 5b\n"
        "7:\n"
        "l32i.n a0, a1, 52\n"
        "bltu a3, a0, 2b\n"
        "j 9f\n"

        "6:\n" /* not narrow: one row, whatever its shift */
        "l32i a7, a1, 64\n"
        "8:\n"
        "l32i.n a11, a10, 0\n"
        "beqz a14, 1f\n"
        MULTIPLIER("0")
        "l32i.n a7, a2, 4\n"
        "addi.n a2, a2, 8\n"
        "1:\n"
        "bgez a7, 1f\n"
        "movi.n a12, -1\n"
        "xor a12, a12, a7\n"
        "ssl a12\n"
        "sll a11, a11\n"
        "1:\n" ROUNDED_HIGH
        "bltz a7, 1f\n"
        "srai a13, a12, 31\n" AWAY_FROM_ZERO
        "ssr a7\n"
        "sra a12, a12\n"
        "addi.n a12, a12, 1\n"
        "srai a12, a12, 1\n"
        "1:\n"
        "l32i.n a13, a1, 32\n"
        "srai a13, a13, 1\n"
        "add.n a12, a12, a13\n" STORE("0")
        "addi.n a3, a3, 1\n"
        "addi.n a10, a10, 4\n"
        "bne a10, a15, 8b\n"
        "j 7b\n"
        "9:\n"
        "l32i.n a0, a1, 60\n"
        "addi a1, a1, 80\n"
        : "+r"(a2), "+r"(a3), "+r"(a4)
        :
        : "a5", "a6", "a7", "a8", "a9", "a10", "a11", "a12", "a13", "a14", "a15", "memory");
}
/* clang-format on */

#else
typedef int tfin_not_lx106; /* ISO C requires a declaration */
#endif
