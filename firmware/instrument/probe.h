/* SPDX-License-Identifier: Apache-2.0 */
/* Forced into every source of the instrument's probing build. */
#ifndef TFIN_INSTRUMENT_PROBE_H
#define TFIN_INSTRUMENT_PROBE_H

#ifndef __ASSEMBLER__
#include <stdint.h>

uint32_t tfin_instrument_probe(uint32_t code);
#define TFIN_SABOTAGE_OPERATOR tfin_instrument_probe(o->code)
#endif

#endif
