/* SPDX-License-Identifier: Apache-2.0 */
/* An engine of single sections, without a pack around them: what training needs before there is a
 * model. No header, digest or signature; the contents are checked as tfin_open checks them. */
#ifndef TINYFIN_SECTIONS_H
#define TINYFIN_SECTIONS_H

#include "tinyfin.h"

/* Schema and program, aligned to TFIN_ALIGN: an engine that computes features. Returns the bytes of
 * memory that it needs, or an error. The engine has no pack: tfin_export_state, tfin_import_state,
 * tfin_recheck_pack and tfin_security_counter must not be called. */
int32_t tfin_open_program(tfin_engine *e, const uint8_t *schema, uint32_t schema_size,
                          const uint8_t *program, uint32_t program_size);

/* Gives that engine its memory, aligned to TFIN_ALIGN, and starts it with a cold state. */
int tfin_start_program(tfin_engine *e, void *memory, size_t memory_size);

/* Plan and read-out, aligned to TFIN_ALIGN: an engine for tfin_infer and nothing else, whose state
 * is to point to tfin_net_arena_size(plan) bytes. */
int tfin_open_network(tfin_engine *e, const uint8_t *plan, uint32_t plan_size,
                      const uint8_t *readout, uint32_t readout_size);

/* What tfin_monitor_bytes says of a pack that is not open: header, digest and signature are not
 * looked at. */
int32_t tfin_monitor_bytes_of(const void *pack, size_t pack_size);

#endif
