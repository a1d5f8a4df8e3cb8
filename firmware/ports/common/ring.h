/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receive ring of ports whose UART interrupts: the interrupt puts, tfin_port_read() gets.
 * TFIN_PORT_RECEIVE_BYTES bytes, which is the credit that HELLO announces, so nothing is lost
 * while the engine is busy.
 */
#ifndef TFIN_RING_H
#define TFIN_RING_H

#include <stdint.h>

/* from the interrupt alone; a byte that finds the ring full is lost and counted */
void tfin_ring_put(uint8_t byte);
void tfin_ring_overrun(void);      /* from the interrupt alone; the UART itself has lost a byte */
int tfin_ring_empty(void);         /* whether there is nothing to get */
int tfin_ring_full(void);          /* whether a byte more would be lost */
int tfin_ring_get(void);           /* from the application alone; 0..255, or -1 when empty */
uint32_t tfin_ring_overruns(void); /* bytes lost since boot */

#endif
