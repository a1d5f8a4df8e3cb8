/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal's end of the wire: takes bytes, runs the engine, answers.
 * Format: docs/formats/wire.md.
 *
 * What changes state carries a sequence number and is done once: the answers to the last
 * TFIN_WIRE_WINDOW of these frames are kept, and a repeated number gets the kept answer back.
 * Everything else only reads, and is answered again.
 */
#ifndef TFIN_WIRE_H
#define TFIN_WIRE_H

#include <stdint.h>

#include "tinyfin.h"

enum { TFIN_WIRE_VERSION = 4 };

/* Host to device. The sequence field of an ordered frame counts; of any other it is a tag that
 * the answer returns. */
enum tfin_request {
    TFIN_HELLO_REQUEST = 0x01,
    TFIN_EVENTS = 0x02,      /* ordered */
    TFIN_STATE_RESET = 0x03, /* ordered */
    TFIN_STATE_WRITE = 0x04, /* ordered */
    TFIN_STATE_READ = 0x05,
    TFIN_CHECKPOINT_REQUEST = 0x06,
    TFIN_DETAIL_READ = 0x07,
    TFIN_INFER = 0x08,
    TFIN_STATS_REQUEST = 0x09,
    TFIN_STACK_REQUEST = 0x0A,
    TFIN_REBOOT = 0x0B,
    TFIN_EXIT = 0x0C,
    TFIN_SPEED_REQUEST = 0x0E,
    TFIN_MONITOR_READ = 0x0F,
    TFIN_SLOT_INFO_REQUEST = 0x20,
    TFIN_PACK_BEGIN = 0x21,
    TFIN_PACK_DATA = 0x22,
    TFIN_PACK_END = 0x23,
    TFIN_SLOT_COMMAND = 0x24,
    TFIN_CHALLENGE_REQUEST = 0x25,
    TFIN_COMMAND_REQUEST = 0x26,
    TFIN_KEYS_REQUEST = 0x27,
    TFIN_PROVISION_REQUEST = 0x28,
    TFIN_NOTICES_REQUEST = 0x29,
    TFIN_AUDIT_READ = 0x2A,
    TFIN_REPORT_READ = 0x2B,
    TFIN_PROBATION_READ = 0x2C
};

/* Device to host. */
enum tfin_answer {
    TFIN_HELLO = 0x81,
    TFIN_VERDICTS = 0x82,
    TFIN_ACK = 0x83,
    TFIN_STATE_DATA = 0x84,
    TFIN_CHECKPOINT = 0x85,
    TFIN_DETAIL = 0x86,
    TFIN_INFERRED = 0x87,
    TFIN_STATS = 0x88,
    TFIN_STACK = 0x89,
    TFIN_SPEED = 0x8A,
    TFIN_MONITOR = 0x8B,
    TFIN_LOG = 0x8E,
    TFIN_ERROR = 0x8F,
    TFIN_SLOT_INFO = 0xA0,
    TFIN_PACK_STATUS = 0xA1,
    TFIN_CHALLENGE = 0xA2,
    TFIN_AUDIT = 0xA4,
    TFIN_REPORT = 0xA5,
    TFIN_PROBATION = 0xA6
};

enum tfin_wire_error {
    /* something between two delimiters was not a frame: send again from `expected` on */
    TFIN_WIRE_BAD_FRAME = 1,
    TFIN_WIRE_SEQUENCE = 2,        /* an earlier frame is missing: send again from `expected` on */
    TFIN_WIRE_NO_SESSION = 3,      /* no HELLO_REQUEST since boot: the device has restarted */
    TFIN_WIRE_UNKNOWN = 4,         /* frame type is not known */
    TFIN_WIRE_MALFORMED = 5,       /* payload breaks the rules of its type; nothing was done */
    TFIN_WIRE_TOO_MANY = 6,        /* more events than HELLO allows in a frame; nothing was done */
    TFIN_WIRE_RANGE = 7,           /* offset, size or selector is outside of what there is */
    TFIN_WIRE_NO_PACK = 8,         /* the pack was refused at boot; engine_error says why */
    TFIN_WIRE_VERSION_REFUSED = 9, /* HELLO_REQUEST asks for another protocol version */
    /* the frame type is known, but a release leaves it out, or the port cannot do it */
    TFIN_WIRE_NOT_OFFERED = 10,
    TFIN_WIRE_SEALING_KEY = 11 /* the terminal has no sealing key of this id */
};

enum tfin_capability {
    TFIN_CAN_TICKS = 1, /* a tick counter: VERDICTS and INFERRED can carry ticks */
    TFIN_CAN_STACK = 2, /* STACK and INFERRED can carry stack sizes */
    TFIN_CAN_INFER = 4, /* INFER is there, the pack has a network, and its input fits the buffer */
    TFIN_CAN_REBOOT = 8,
    TFIN_CAN_EXIT = 16, /* an emulator or a process, which can end itself */
    /* EVENTS and CHECKPOINT; a release without TFIN_RELEASE_REPLAY has neither */
    TFIN_CAN_REPLAY = 32,
    /* STATE_RESET, STATE_WRITE, STATE_READ and DETAIL_READ; no release has them */
    TFIN_CAN_STATE = 64,
    /* SPEED_REQUEST changes the speed of the line; no release has it */
    TFIN_CAN_SPEED = 128,
    /* SLOT_INFO and PACK_...; SLOT_COMMAND too, but of a release */
    TFIN_CAN_INSTALL = 256,
    /* CHALLENGE, COMMAND, KEYS, PROVISION, NOTICES; of a release that knows a root key */
    TFIN_CAN_COMMAND = 512,
    /* AUDIT_READ; also of a release */
    TFIN_CAN_AUDIT = 1024,
    /* REPORT_READ; also of a release */
    TFIN_CAN_REPORT = 2048,
    /* PACK_BEGIN takes sealed packs, STATE_READ gives sealed images; also of a release */
    TFIN_CAN_SEAL = 4096,
    /* MONITOR_READ: a monitor counts what is scored; also of a release */
    TFIN_CAN_MONITOR = 8192
};

/* Opens the pack, starts cold and says HELLO. Called once. */
void tfin_wire_start(void);

/* To be called between bytes: one operation on flash, where there is one to do. What comes back: */
enum tfin_wire_work {
    TFIN_WIRE_RESTS, /* nothing to do: wait for a byte */
    TFIN_WIRE_WORKS, /* call it again; bytes may be given meanwhile */
    TFIN_WIRE_HOLDS  /* call it again before the next byte is given */
};
enum tfin_wire_work tfin_wire_step(void);

/* Takes one received byte; works and answers when it ends a frame. */
void tfin_wire_byte(uint8_t byte);

/* To be called when there was no byte. 1: come back at once, something is timed; 0: sleep if you
 * like. */
int tfin_wire_idle(void);

/* The engine that the wire serves, for an application in the same loop: one engine has one owner.
 * When the pack was refused its calls answer TFIN_E_CLOSED. */
tfin_engine *tfin_wire_engine(void);

/* Sends a line of log as a frame of its own; at most 120 bytes of it. */
void tfin_wire_log(uint8_t level, const char *text);

#endif
