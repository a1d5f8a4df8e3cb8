/* SPDX-License-Identifier: Apache-2.0 */
/* Forced into every source of the laboratory's probing build. */
#ifndef TFIN_LAB_PROBE_H
#define TFIN_LAB_PROBE_H

#ifndef __ASSEMBLER__
#include <stdint.h>

uint32_t tfin_lab_probe(uint32_t code);
#define TFIN_SABOTAGE_OPERATOR tfin_lab_probe(o->code)
#endif

#endif
