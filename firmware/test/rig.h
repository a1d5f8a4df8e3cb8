/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives an engine with anything at all, for the safety tests and the fuzz targets. Built
 * with ASan and UBSan: every buffer has exactly the size that was promised, so one byte
 * past it stops the program.
 */
#ifndef RIG_H
#define RIG_H

#include <stdint.h>

#include "tinyfin.h"

/* Where decisions come from: given bytes first, then random ones (seed not 0) or zeros. */
typedef struct rig_source {
    const uint8_t *data;
    size_t left;
    uint64_t seed;
} rig_source;

uint32_t rig_u32(rig_source *s);
/* 0 to n - 1 */
uint32_t rig_below(rig_source *s, uint32_t n);
/* A random word, or one near a border. */
uint32_t rig_extreme(rig_source *s);
/* True while there are given bytes, or always with a seed. */
int rig_more(const rig_source *s);

/* Aligned to 16, exactly `size` bytes, filled with 0xA5. Never null. */
uint8_t *rig_exact(size_t size);
uint8_t *rig_copy(const uint8_t *data, size_t size);
uint8_t *rig_read(const char *path, size_t *size);

/* Changes 1 to 4 bytes, halfwords or words of data[0, size). */
void rig_mutate(rig_source *s, uint8_t *data, size_t size);
/* The same in a pack: picks a section first, prefers its front. */
void rig_mutate_pack(rig_source *s, uint8_t *pack, size_t size);
/* Writes what port_accept.c accepts into the header. */
void rig_accept(uint8_t *pack, size_t size);

enum { RIG_MOST_MEMORY = 1 << 18 };

/* Opens a pack in memory of exactly the size that the engine asks for; *memory must be freed. More
 * than RIG_MOST_MEMORY is not tried: TFIN_E_MEMORY. */
int rig_open(tfin_engine *engine, const uint8_t *pack, size_t size, uint8_t **memory);

/* A cold engine of the pack in this file, which port_accept.c accepts. Opened once; ends the
 * program when it is refused. */
tfin_engine *rig_engine_of(const char *path);

/* Scores, outcomes, notices, images, all calls, in an order that the source chooses. */
void rig_drive(tfin_engine *engine, rig_source *s, uint32_t steps);

/* Gives a state image the size, layout and checksum that the engine expects, then imports it, and
 * runs on. Returns what import said. */
int rig_import(tfin_engine *engine, rig_source *s, const uint8_t *image, uint32_t size);

#endif
