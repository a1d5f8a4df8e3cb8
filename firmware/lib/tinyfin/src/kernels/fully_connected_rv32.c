/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FULLY_CONNECTED for rv32im: multiplications of 32 bits, one at a time; loads that extend a
 * byte's sign or do not.
 *
 * Layout CANONICAL as it is: an unsigned byte of an even column meets x, a signed one of an odd
 * column x - 127, both expanded to halfwords once per layer. A weight costs a load, a
 * multiplication and an addition, and one load of x serves four rows: 52 instructions for 16
 * multiply-accumulates, 55 with the loop (3.44 each; floor 3.25). Two rows in a word under the mask
 * 0x00FF00FF, as fully_connected_armv6m.c has them, come to the same 52 here: what they save in
 * multiplications and loads goes into masks, shifts and a second sum.
 *
 * Requantisation (fully_connected.c): v = (acc * multiplier_q32 + 2^31) >> 32 is MULHSU plus the
 * top bit of MUL. With Z = 2z + 1, (((v + (v >> 31)) >> shift1) + 1) >> 1 + z
 * = (((v + (v >> 31)) >> shift1) + Z) >> 1, which cannot overflow while |acc| <= 2^30 (FC_NARROW).
 * That makes 13 instructions for an output, 3 of them clamps and their store, and 4 for its bias
 * and the group of four rows that it is in; 2 more when rows have multipliers of their own. Layers
 * that are not narrow take the general path, row by row.
 */
#include "../network/net_plan.h"

#ifdef TFIN_FAMILY_RV32

#ifdef TFIN_SABOTAGE_KERNEL /* wrong on purpose: the last row meets a weight of the one before */
#define LAST_ROW "8"
#else
#define LAST_ROW "12"
#endif

#ifdef TFIN_TEST_SINGLE_ROUNDING
#define AWAY_FROM_ZERO "nop\n" /* wrong on purpose: the tests must notice */
#else
#define AWAY_FROM_ZERO "add a4, a4, a3\n"
#endif

/* clang-format off */
/* Two columns of expanded x. */
#define EXPAND(at)               \
    "lb t0, " at "(a3)\n"        \
    "lb t1, " at " + 1(a3)\n"    \
    "addi t1, t1, -127\n"        \
    "sub t2, t2, t0\n"           \
    "sh t0, 2 * " at "(a4)\n"    \
    "sh t1, 2 * " at " + 2(a4)\n"

/* One column of four rows; `load` is lbu in even columns, lb in odd ones. */
#define COLUMN(load, at, last)           \
    "lh a3, 2 * " at "(a6)\n"            \
    load " a4, " at "(a0)\n"             \
    load " a5, " at " + 4(a0)\n"         \
    load " t0, " at " + 8(a0)\n"         \
    load " t1, " at " + " last "(a0)\n"  \
    "mul a4, a4, a3\n"                   \
    "mul a5, a5, a3\n"                   \
    "mul t0, t0, a3\n"                   \
    "mul t1, t1, a3\n"                   \
    "add s1, s1, a4\n"                   \
    "add s2, s2, a5\n"                   \
    "add s3, s3, t0\n"                   \
    "add s4, s4, t1\n"

/* v in a4, from `sum`. */
#define ROUNDED_HIGH(sum)        \
    "mul a3, " sum ", t4\n"      \
    "mulhsu a4, " sum ", t4\n"   \
    "srli a3, a3, 31\n"          \
    "add a4, a4, a3\n"

/* Clamps a4 and stores it. */
#define STORE(at)                \
    "bge a4, s5, 1f\n"           \
    "mv a4, s5\n"                \
    "1:\n"                       \
    "ble a4, s6, 1f\n"           \
    "mv a4, s6\n"                \
    "1:\n"                       \
    "sb a4, " at "(a1)\n"

/* One row of a narrow layer. */
#define ROW(sum, at)                     \
    "beqz a2, 1f\n"                      \
    "lw t4, 8 * " at "(a0)\n"            \
    "lw t5, 8 * " at " + 4(a0)\n"        \
    "1:\n" ROUNDED_HIGH(sum)             \
    "srai a3, a4, 31\n" AWAY_FROM_ZERO   \
    "sra a4, a4, t5\n"                   \
    "add a4, a4, t6\n"                   \
    "srai a4, a4, 1\n" STORE(at)

/*
 * Numbers are offsets in tfin_node and, for a1 at first, in the plan's header. The compiler saves
 * what the code names as its own.
 *
 * a0 constants, a1 output, a2 bytes of a group's multipliers (0: per-tensor), a6 expanded x, a7 its
 * end, s1 to s4 sums, s5 and s6 clamps, s7 where expanded x begins, s8 bytes of a group's weights,
 * s9 accumulators, s10 flags: 2 not narrow, 4 accumulators; t2 start of every sum, t3 end of the
 * output, t4 multiplier_q32, t5 shift1, t6 Z.
 */
void tfin_fully_connected(const tfin_node *node, const uint8_t *plan, uint8_t *arena)
{
    register const tfin_node *a0 __asm__("a0") = node;
    register const uint8_t *a1 __asm__("a1") = plan;
    register uint8_t *a2 __asm__("a2") = arena;
    __asm__ volatile(
        "lw a3, 4(a0)\n" /* input */
        "lw a4, 32(a0)\n" /* scratch */
        "lhu a5, 12(a0)\n" /* inputs */
        "add a3, a3, a2\n"
        "add a4, a4, a2\n"
        "addi a5, a5, 3\n"
        "srli a5, a5, 2\n"
        "slli s8, a5, 4\n"
        "slli a5, a5, 3\n"
        "add a7, a4, a5\n"
        "mv s7, a4\n"
        "li t2, 0\n"
        "2:\n" EXPAND("0") EXPAND("2")
        "addi a3, a3, 4\n"
        "addi a4, a4, 8\n"
        "bne a4, a7, 2b\n"
        "slli t2, t2, 7\n" /* -128 * (sum of x in even columns) */
        "lw t4, 20(a0)\n"
        "lw t5, 24(a0)\n"
        "lb t6, 28(a0)\n"
        "slli t6, t6, 1\n"
        "addi t6, t6, 1\n"
        "lb s5, 29(a0)\n"
        "lb s6, 30(a0)\n"
        "lw s9, 40(a1)\n"
        "add s9, s9, a2\n"
        "lhu t3, 14(a0)\n" /* outputs */
        "lw a3, 8(a0)\n" /* output */
        "lw a5, 16(a0)\n" /* constants */
        "lbu a4, 1(a0)\n" /* flags */
        "add a0, a1, a5\n"
        "add a1, a3, a2\n"
        "add t3, t3, a1\n"
        "andi a2, a4, 1\n"
        "slli a2, a2, 5\n"
        "xori a4, a4, 2\n"
        "andi s10, a4, 6\n"

        "2:\n" /* a group of four rows */
        "add a4, a0, s8\n"
        "lw s1, 0(a4)\n"
        "lw s2, 4(a4)\n"
        "lw s3, 8(a4)\n"
        "lw s4, 12(a4)\n"
        "add s1, s1, t2\n"
        "add s2, s2, t2\n"
        "add s3, s3, t2\n"
        "add s4, s4, t2\n"
        "mv a6, s7\n"
        "3:\n"
        COLUMN("lbu", "0", LAST_ROW) COLUMN("lb", "1", "12")
        COLUMN("lbu", "2", "12") COLUMN("lb", "3", "12")
        "addi a0, a0, 16\n"
        "addi a6, a6, 8\n"
        "bne a6, a7, 3b\n"
        "addi a0, a0, 16\n"
        "bnez s10, 5f\n"
        "4:\n" ROW("s1", "0") ROW("s2", "1") ROW("s3", "2") ROW("s4", "3")
        "add a0, a0, a2\n"
        "addi a1, a1, 4\n"
        "bltu a1, t3, 2b\n"
        "j 9f\n"

        "5:\n" /* what few layers need */
        "andi a3, s10, 4\n"
        "beqz a3, 6f\n"
        "sw s1, 0(s9)\n"
        "sw s2, 4(s9)\n"
        "sw s3, 8(s9)\n"
        "sw s4, 12(s9)\n"
        "addi s9, s9, 16\n"
        "6:\n"
        "andi a3, s10, 2\n"
        "beqz a3, 4b\n"
        "7:\n" /* one row, whatever its shift */
        "beqz a2, 1f\n"
        "lw t4, 0(a0)\n"
        "lw t5, 4(a0)\n"
        "addi a0, a0, 8\n"
        "1:\n"
        "bgez t5, 1f\n"
        "not a3, t5\n"
        "sll s1, s1, a3\n"
        "1:\n" ROUNDED_HIGH("s1")
        "bltz t5, 1f\n"
        "srai a3, a4, 31\n" AWAY_FROM_ZERO
        "sra a4, a4, t5\n"
        "addi a4, a4, 1\n"
        "srai a4, a4, 1\n"
        "1:\n"
        "srai a3, t6, 1\n"
        "add a4, a4, a3\n" STORE("0")
        "addi a1, a1, 1\n"
        "mv s1, s2\n"
        "mv s2, s3\n"
        "mv s3, s4\n"
        "andi a3, a1, 3\n"
        "bnez a3, 7b\n"
        "bltu a1, t3, 2b\n"
        "9:\n"
        : "+r"(a0), "+r"(a1), "+r"(a2)
        :
        : "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2", "t3", "t4", "t5", "t6", "s1", "s2", "s3",
          "s4", "s5", "s6", "s7", "s8", "s9", "s10", "memory");
}
/* clang-format on */

#else
typedef int tfin_not_rv32; /* ISO C requires a declaration */
#endif
