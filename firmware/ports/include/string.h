/* SPDX-License-Identifier: Apache-2.0 */
/* All of libc that the firmware uses (common/memory.c), so that a bare compiler is enough. */
#ifndef TFIN_STRING_H
#define TFIN_STRING_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);

#ifdef __cplusplus
}
#endif

#endif
