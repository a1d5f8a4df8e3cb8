/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every size of the terminal application, in one place. All memory is static: what these numbers
 * say is what the linker reserves. A part with 8 kB of RAM defines TFIN_WIRE_SMALL, or sets each by
 * itself. HELLO tells the host all of them, so any choice works with any host; larger frames cost
 * fewer bytes per event.
 */
#ifndef TFIN_CONFIG_H
#define TFIN_CONFIG_H

/* A frame as it is before COBS: type, sequence, payload and CRC. At least 160 (HELLO must fit). */
#ifndef TFIN_WIRE_FRAME_BYTES
#ifndef TFIN_WIRE_SMALL
#define TFIN_WIRE_FRAME_BYTES 1536
#else
#define TFIN_WIRE_FRAME_BYTES 272
#endif
#endif

/* Answers kept for repeated sequence numbers, which is also how many frames the host may have under
 * way. A power of two. */
#ifndef TFIN_WIRE_WINDOW
#ifndef TFIN_WIRE_SMALL
#define TFIN_WIRE_WINDOW 4
#else
#define TFIN_WIRE_WINDOW 1
#endif
#endif

/* Events in one frame, and how many of them may be scored. */
#ifndef TFIN_WIRE_EVENTS
#ifndef TFIN_WIRE_SMALL
#define TFIN_WIRE_EVENTS 96
#else
#define TFIN_WIRE_EVENTS 8
#endif
#endif
#ifndef TFIN_WIRE_SCORES
#ifndef TFIN_WIRE_SMALL
#define TFIN_WIRE_SCORES 48
#else
#define TFIN_WIRE_SCORES 4
#endif
#endif

/* Memory of the monitor of score and features: a pack whose sections ask for more is scored without
 * one. 0: no monitor in the image. */
#ifndef TFIN_MONITOR_BYTES
#ifndef TFIN_WIRE_SMALL
#define TFIN_MONITOR_BYTES 640
#elif !defined TFIN_STATE_LOG && !defined TFIN_SEALED
#define TFIN_MONITOR_BYTES 100
#else
#define TFIN_MONITOR_BYTES 48 /* the score alone: these take as much of 8 kB */
#endif
#endif

/* One kept answer: its head with a checkpoint, one verdict of at most 27 bytes per scored event,
 * one error of at most 3 bytes per event. */
#define TFIN_WIRE_ANSWER_BYTES (28 + 27 * TFIN_WIRE_SCORES + 3 * TFIN_WIRE_EVENTS)

/* Names of the build, for HELLO; the builder sets them. */
#ifndef TFIN_BUILD_ID
#define TFIN_BUILD_ID "unnamed"
#endif
#ifndef TFIN_TARGET
#define TFIN_TARGET "unnamed"
#endif

#endif
