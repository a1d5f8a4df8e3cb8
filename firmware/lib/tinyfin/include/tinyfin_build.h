/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this build of the engine runs, by the compiler's target and options: which kernel
 * multiplies, which layouts of weights it reads, which kernels of a network are linked. Code that
 * `tinyfin codegen` wrote compares its pack with this, so that what cannot run does not compile.
 */
#ifndef TINYFIN_BUILD_H
#define TINYFIN_BUILD_H

/* Layouts of the constants (plan.md), and those that the kernels of this build read, one bit each:
 * every build reads the canonical one, a build for a host all of them. */
enum tfin_layout { TFIN_LAYOUT_CANONICAL = 0, TFIN_LAYOUT_ROWS = 1, TFIN_LAYOUT_COLUMNS = 2 };
/* Whose kernel of FULLY_CONNECTED this build has; one file each, fully_connected_*.c.
 * TFIN_KERNEL_PORTABLE asks for the portable one on any core. */
#if defined(TFIN_KERNEL_PORTABLE)
#define TFIN_LAYOUTS 1u
#elif defined(__ARM_FEATURE_MVE)
#define TFIN_FAMILY_MVE 1
#define TFIN_LAYOUTS 3u
#elif defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M' && __ARM_ARCH_ISA_THUMB == 1
#define TFIN_FAMILY_ARMV6M 1
#define TFIN_LAYOUTS 5u
#elif defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
#ifdef __ARM_FEATURE_DSP
#define TFIN_FAMILY_DSP 1
#define TFIN_LAYOUTS 1u
#else
#define TFIN_FAMILY_ARMV7M 1
#define TFIN_LAYOUTS 5u
#endif
#elif defined(__riscv) && __riscv_xlen == 32 && defined(__riscv_mul) && !defined(__riscv_32e)
#define TFIN_FAMILY_RV32 1
#define TFIN_LAYOUTS 1u
#elif defined(__XTENSA_CALL0_ABI__)
#define TFIN_FAMILY_LX106 1
#define TFIN_LAYOUTS 1u
#elif defined(__riscv) || defined(__XTENSA__)
#define TFIN_LAYOUTS 1u
#else
#define TFIN_LAYOUTS 7u
#endif

/* Kernel mask: what a plan needs, what an engine has. */
enum tfin_kernel {
    TFIN_KERNEL_FULLY_CONNECTED = 1,
    TFIN_KERNEL_TABLE = 2,
    TFIN_KERNEL_SOFTMAX = 4,
    TFIN_KERNEL_ADD = 8, /* and SUB */
    TFIN_KERNEL_MUL = 16,
    TFIN_KERNEL_SQUARED_DIFFERENCE = 32,
    TFIN_KERNEL_REDUCE = 64, /* SUM, MEAN */
    TFIN_KERNEL_COPY = 128,  /* CONCATENATION */
    TFIN_KERNEL_DENSITY = 256,
    TFIN_KERNEL_FOREST = 512
};
#define TFIN_KERNELS_FC 3u
#define TFIN_KERNELS_ALL 1023u

/* The kernels that this build links: -DTFIN_KERNELS= with the number that TINYFIN_KERNELS of the
 * generated header has. A firmware build sets it to what its pack needs. Plans that need more are
 * refused with TFIN_E_KERNEL. */
#ifndef TFIN_KERNELS
#define TFIN_KERNELS TFIN_KERNELS_ALL
#endif

#endif
