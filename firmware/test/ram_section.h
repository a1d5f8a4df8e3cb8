/* SPDX-License-Identifier: Apache-2.0 */
/* Included before each source of the application that is fuzzed: its variables lie together, so
 * that fuzz_wire.c can bring them back to what they were. */
#pragma clang section bss = "terminal_zero" data = "terminal_data"
