/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer: any bytes and any frames, to the terminal application with FUZZ_PACK. An input is a
 * row of commands: raw bytes, a frame with the right CRC, one with a byte changed, or the last
 * ordered frame again, whose answer and state must then be the same. Every answer has to be a frame
 * that the host could take. With slots (TFIN_PORT_FLASH) also a changed pack that is installed as a
 * host would, sealed or not, and what becomes of it; what is signed, with fields that mean
 * something; and pieces of the state, sealed, which must open to what the state is.
 *
 * Every input begins with the RAM and the flash of a terminal that was started once, so an input
 * that fails does so alone, too. A restart clears the RAM, and the input goes on.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "flash_in_ram.h"
#include "frame.h"
#include "port.h"
#include "rig.h"
#include "tinyfin.h"
#include "tinyfin_port.h"
#include "wire.h"

enum {
    LONGEST = TFIN_WIRE_FRAME_BYTES + 64,
    OP_RAW = 0,
    OP_FRAME,
    OP_AGAIN,
    OP_DAMAGED,
    OP_INSTALL,
    OP_SIGNED,
    OPS,
    OP_SLOWLY = 0x80 /* a step of the terminal after every byte, not after every frame */
};

const uint32_t tfin_port_abilities = TFIN_PORT_EXIT | TFIN_PORT_REBOOT | TFIN_PORT_SPEED;
const uint32_t tfin_port_receive_bytes = TFIN_PORT_RECEIVE_BYTES;
const uint32_t tfin_port_tick_hz = 1000000u;
const uint32_t tfin_port_tick_mask = 0xFFFFFFu;

uint8_t tinyfin_pack[FUZZ_PACK_BYTES] __attribute__((aligned(16)));

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static jmp_buf ended;
static uint8_t sent[2 * LONGEST]; /* what the application has said, since the last delimiter */
static uint32_t sent_size;
static uint8_t answer[LONGEST]; /* its last frame */
static uint32_t answer_size;
static uint16_t next;         /* the number that it expects */
static uint8_t last[LONGEST]; /* the ordered frame before it, without CRC */
static uint32_t last_size;
static uint32_t session;
static int slowly;
static uint32_t boots, ticks;
static uint64_t frames; /* of all inputs, for the report at the end */

/* Variables of the application: ram_section.h. */
extern uint64_t __start_terminal_zero[], __stop_terminal_zero[];
extern uint64_t __start_terminal_data[], __stop_terminal_data[];
enum { RAM_WORDS = 4096 };
static uint64_t ram_of_power_up[RAM_WORDS], ram_of_start[RAM_WORDS];

static void require(int condition)
{
    if (!condition) {
        abort();
    }
}

/* Copies between two runs of words, where the sanitizer sees gaps between variables. */
__attribute__((no_sanitize("address"), no_builtin("memcpy"))) static void
copy_words(uint64_t *to, const uint64_t *from, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        to[i] = from[i];
    }
}

static void save_ram(uint64_t *to)
{
    size_t zero = (size_t)(__stop_terminal_zero - __start_terminal_zero);
    size_t data = (size_t)(__stop_terminal_data - __start_terminal_data);
    require(zero + data <= RAM_WORDS);
    copy_words(to, __start_terminal_zero, zero);
    copy_words(to + zero, __start_terminal_data, data);
}

static void restore_ram(const uint64_t *from)
{
    size_t zero = (size_t)(__stop_terminal_zero - __start_terminal_zero);
    copy_words(__start_terminal_zero, from, zero);
    copy_words(__start_terminal_data, from + zero,
               (size_t)(__stop_terminal_data - __start_terminal_data));
}

static void take_answer(void)
{
    uint8_t body[LONGEST];
    tfin_deframer d;
    tfin_deframer_open(&d, body, sizeof body);
    enum tfin_deframed what = TFIN_FRAME_NONE;
    for (uint32_t i = 0; i < sent_size; i++) {
        what = tfin_deframe(&d, sent[i]);
    }
    what = tfin_deframe(&d, 0);
    require(what == TFIN_FRAME_GOOD && d.size + TFIN_FRAME_CRC <= TFIN_WIRE_FRAME_BYTES &&
            (body[0] & 0x80) != 0);
    memcpy(answer, body, d.size);
    answer_size = d.size;
    if ((body[0] == TFIN_VERDICTS || body[0] == TFIN_ACK) && (body[1] | body[2] << 8) == next) {
        next++;
    }
}

void tfin_port_write(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (data[i] == 0) {
            if (sent_size > 0) {
                take_answer();
            }
            sent_size = 0;
        } else {
            require(sent_size < sizeof sent);
            sent[sent_size++] = data[i];
        }
    }
}

/* The frame's bytes for the line, delimiter included; how many. `body` has space for the CRC. */
static uint32_t encode(uint8_t *body, uint32_t size, uint8_t *line)
{
    uint32_t crc = tfin_crc32(0, body, size);
    uint32_t at = 0;
    uint32_t code = 0;
    for (uint32_t i = 0; i < TFIN_FRAME_CRC; i++) {
        body[size++] = (uint8_t)(crc >> (8u * i));
    }
    line[at++] = 1;
    for (uint32_t i = 0; i < size; i++) {
        if (body[i] != 0) {
            line[at++] = body[i];
            line[code]++;
        }
        if (body[i] == 0 || line[code] == 0xFF) {
            code = at;
            line[at++] = 1;
        }
    }
    line[at++] = 0;
    return at;
}

static void push(const uint8_t *line, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        tfin_wire_byte(line[i]);
        frames += line[i] == 0;
        while ((slowly || line[i] == 0) && tfin_wire_step() == TFIN_WIRE_HOLDS) {
        }
    }
}

static void frame(uint8_t type, uint16_t number, const uint8_t *payload, uint32_t size)
{
    uint8_t body[LONGEST + TFIN_FRAME_CRC] = {type, (uint8_t)number, (uint8_t)(number >> 8)};
    uint8_t line[LONGEST + 32];
    if (size > 0) {
        memcpy(body + TFIN_FRAME_HEAD, payload, size);
    }
    uint16_t before = next;
    uint32_t length = encode(body, TFIN_FRAME_HEAD + size, line);
    push(line, length);
    if (next != before) {
        memcpy(last, body, TFIN_FRAME_HEAD + size);
        last_size = TFIN_FRAME_HEAD + size;
    }
}

/* The last ordered frame again: the same answer, and nothing else has happened. */
static void again(void)
{
    uint8_t first[LONGEST];
    uint8_t body[LONGEST + TFIN_FRAME_CRC];
    uint8_t line[LONGEST + 32];
    if (last_size == 0) {
        return;
    }
    memcpy(body, last, last_size);
    uint32_t length = encode(body, last_size, line);
    push((const uint8_t *)"", 1); /* ends what raw bytes have left */
    push(line, length);
    uint32_t first_size = answer_size;
    memcpy(first, answer, answer_size);
    frame(TFIN_CHECKPOINT_REQUEST, 7, NULL, 0);
    uint8_t stand[LONGEST];
    memcpy(stand, answer, answer_size);
    push(line, length);
    require(answer_size == first_size && memcmp(answer, first, first_size) == 0);
    frame(TFIN_CHECKPOINT_REQUEST, 7, NULL, 0);
    require(memcmp(answer, stand, answer_size) == 0);
}

static uint32_t take(const uint8_t **data, size_t *left, uint32_t bytes)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < bytes && *left > 0; i++, (*data)++, (*left)--) {
        value |= (uint32_t)**data << (8u * i);
    }
    return value;
}

#ifdef TFIN_PORT_FLASH
int tfin_port_seal_key(uint32_t number, uint8_t key[32])
{
    memset(key, 7, 32);
    return number == 0;
}

/* The key, its id and every key that is made of it, by the hash of port_accept.c; and a nonce. */
static const uint8_t announced[32] = {
    0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 1, 2, 3, 4, 5, 6, 7, 8, 9,
};

static void apply(const uint8_t nonce[24], uint32_t offset, uint8_t *bytes, uint32_t size)
{
    uint8_t key[32], block[64];
    memset(key, 0x5A, sizeof key);
    tfin_port_stream_key(key, key, nonce);
    for (uint32_t i = 0; i < size; i++) {
        tfin_port_stream_block(block, key, nonce + 16, (offset + i) / 64u);
        bytes[i] ^= block[(offset + i) % 64u];
    }
}

/* A piece of the state: sealed by the terminal, then as it is. */
static void read_sealed(const uint8_t **data, size_t *left)
{
    enum { AT_PIECE = TFIN_FRAME_HEAD + 4, NONCE = 24 };
    uint8_t asked[14], opened[LONGEST];
    uint32_t offset = take(data, left, 2), size = take(data, left, 2);
    memcpy(asked, &offset, 4);
    memcpy(asked + 4, &size, 2);
    memcpy(asked + 6, announced, 8);
    asked[6] ^= (uint8_t)(take(data, left, 1) % 16u == 1u);
    frame(TFIN_STATE_READ, 5, asked, sizeof asked);
    require(answer[0] == TFIN_STATE_DATA || answer[0] == TFIN_ERROR);
    if (answer[0] == TFIN_STATE_DATA) {
        require(answer_size == AT_PIECE + NONCE + size);
        memcpy(opened, answer + AT_PIECE + NONCE, size);
        apply(answer + AT_PIECE, offset, opened, size);
        frame(TFIN_STATE_READ, 6, asked, 6);
        require(answer_size == AT_PIECE + size && memcmp(opened, answer + AT_PIECE, size) == 0);
    }
}

/* A pack with some bytes changed, its header made good again; then a command for it. */
static void install(const uint8_t **data, size_t *left)
{
    static uint8_t pack[FUZZ_PACK_BYTES];
    uint8_t piece[4 + 256];
    memcpy(pack, tinyfin_pack, sizeof pack);
    uint32_t how = take(data, left, 1);
    uint32_t announces = how & 8u ? sizeof announced : 0; /* 0: it is not sealed */
    for (uint32_t changes = how % 8u; changes > 0; changes--) {
        uint32_t at = take(data, left, 2);
        pack[at % sizeof pack] ^= (uint8_t)take(data, left, 1);
    }
    uint32_t counter = take(data, left, 1);
    uint32_t ends_at = take(data, left, 1) * 64u; /* more often than not behind the pack */
    rig_accept(pack, sizeof pack);
    memcpy(pack + 16, &counter, 1);
    if (announces) {
        apply(announced + 8, 0, pack, sizeof pack);
    }
    memcpy(piece, pack, TFIN_PACK_HEADER_BYTES);
    memcpy(piece + TFIN_PACK_HEADER_BYTES, announced, announces);
    frame(TFIN_PACK_BEGIN, 3, piece, TFIN_PACK_HEADER_BYTES + announces);
    while (tfin_wire_step() != TFIN_WIRE_RESTS) {
    }
    for (uint32_t at = TFIN_PACK_HEADER_BYTES; at < sizeof pack && at < ends_at; at += 256) {
        uint32_t size = sizeof pack - at < 256 ? (uint32_t)sizeof pack - at : 256;
        memcpy(piece, &at, 4);
        memcpy(piece + 4, pack + at, size);
        frame(TFIN_PACK_DATA, 4, piece, 4 + size);
    }
    frame(TFIN_PACK_END, 5, pack, TFIN_PACK_HEADER_BYTES);
    uint8_t what = (uint8_t)(take(data, left, 1) % 5u);
    frame(TFIN_SLOT_COMMAND, 6, &what, 1);
    while (tfin_wire_step() != TFIN_WIRE_RESTS) {
    }
    if (how & 16u) {
        read_sealed(data, left);
    }
}

const uint8_t tinyfin_root_key[32] = {1};

static void put(uint8_t *to, uint32_t value, uint32_t size)
{
    memcpy(to, &value, size);
}

/* A command, keys, an identity or notices; then some of its bytes are changed. */
static void sign(const uint8_t **data, size_t *left)
{
    static const uint8_t id[8] = {7};
    uint8_t m[LONGEST] = {0};
    uint32_t size, crc;
    uint8_t type = (uint8_t)(TFIN_COMMAND_REQUEST + take(data, left, 1) % 4u);
    switch (type) {
    case TFIN_COMMAND_REQUEST:
        size = 128;
        put(m, 0x4D434654, 4);
        m[4] = (uint8_t)(take(data, left, 1) % 12u);
        m[5] = (uint8_t)(take(data, left, 1) & 1u);
        if (m[5] != 0) {
            put(m + 32, take(data, left, 4), 4);
        } else {
            memcpy(m + 8, id, sizeof id);
            memset(m + 16, 0x5A, 16); /* the nonce of port_accept.c */
        }
        if (m[4] <= 4u || m[4] == 8u) {
            memset(m + 36, 0x5A, 16);
            m[36] ^= (uint8_t)take(data, left, 1);
        } else if (m[4] <= 7u) {
            put(m + 52, take(data, left, 4), 4);
        }
        break;
    case TFIN_KEYS_REQUEST:
        size = 224;
        put(m, 0x4D4B4654, 4);
        put(m + 4, take(data, left, 2), 2);
        m[8] = 1; /* the root key */
        m[6] = (uint8_t)(take(data, left, 1) % 4u);
        m[7] = (uint8_t)(take(data, left, 1) % 4u);
        for (uint32_t i = 0; i < 4; i++) {
            m[32 + 32 * i] = (uint8_t)take(data, left, 1);
        }
        crc = tfin_crc32(0, m, 28);
        put(m + 28, tfin_crc32(crc, m + 32, 128), 4);
        break;
    case TFIN_PROVISION_REQUEST:
        size = 72;
        memcpy(m, id, sizeof id);
        break;
    default:
        put(m, 0x544E4654, 4);
        m[4] = (uint8_t)(take(data, left, 1) % 16u);
        put(m + 6, take(data, left, 2), 2);
        memcpy(m + 8, id, sizeof id);
        size = 16u + 21u * m[4] + 64u;
        for (uint32_t i = 0; i < m[4]; i++) {
            put(m + 16 + 21 * i, take(data, left, 1), 4);
            put(m + 24 + 21 * i, take(data, left, 1), 4);
            put(m + 32 + 21 * i, take(data, left, 4), 4);
            m[36 + 21 * i] = (uint8_t)(take(data, left, 1) & 1u);
        }
    }
    for (uint32_t changes = take(data, left, 1) % 4u; changes > 0; changes--) {
        m[take(data, left, 1) % size] ^= (uint8_t)take(data, left, 1);
    }
    frame(type, 8, m, size + take(data, left, 1) % 2u);
    while (tfin_wire_step() != TFIN_WIRE_RESTS) {
    }
    frame(TFIN_CHALLENGE_REQUEST, 9, NULL, 0);
    require(answer[0] == TFIN_CHALLENGE);
}
#else
void flash_in_ram_save(void)
{
}

void flash_in_ram_restore(void)
{
}

static void install(const uint8_t **data, size_t *left)
{
    (void)take(data, left, 1);
}

static void sign(const uint8_t **data, size_t *left)
{
    (void)take(data, left, 1);
}
#endif

static void command(const uint8_t **data, size_t *left)
{
    uint8_t payload[LONGEST];
    uint32_t op = take(data, left, 1);
    slowly = (op & OP_SLOWLY) != 0;
    op = op % OP_SLOWLY % OPS;
    if (op == OP_INSTALL) {
        install(data, left);
        return;
    }
    if (op == OP_SIGNED) {
        sign(data, left);
        return;
    }
    if (op == OP_AGAIN) {
        again();
        return;
    }
    uint8_t type = op == OP_RAW ? 0 : (uint8_t)take(data, left, 1);
    uint16_t number = op == OP_RAW ? 0 : (uint16_t)(next + (int8_t)take(data, left, 1));
    uint32_t where = op == OP_DAMAGED ? take(data, left, 2) : 0;
    uint8_t change = op == OP_DAMAGED ? (uint8_t)take(data, left, 1) : 0;
    uint32_t size = take(data, left, 2);
    size = size < *left ? size : (uint32_t)*left;
    size = size < LONGEST - TFIN_FRAME_HEAD ? size : LONGEST - TFIN_FRAME_HEAD;
    memcpy(payload, *data, size);
    *data += size;
    *left -= size;
    if (op == OP_RAW) {
        push(payload, size);
        return;
    }
    if (type == TFIN_HELLO_REQUEST) {
        return; /* another session would turn the count back; every input begins one */
    }
    if (op == OP_FRAME) {
        push((const uint8_t *)"", 1);
        frame(type, number, payload, size);
        return;
    }
    uint8_t body[LONGEST + TFIN_FRAME_CRC] = {type, (uint8_t)number, (uint8_t)(number >> 8)};
    uint8_t line[LONGEST + 32];
    memcpy(body + TFIN_FRAME_HEAD, payload, size);
    uint32_t length = encode(body, TFIN_FRAME_HEAD + size, line);
    line[where % length] ^= change;
    push(line, length);
    last_size = 0; /* a change may have made another frame of it */
    push((const uint8_t *)"", 1);
}

/* A host greets; the pack runs, and its state is cold. */
static void begin_session(void)
{
    uint8_t greeting[7] = {TFIN_WIRE_VERSION};
    session++;
    memcpy(greeting + 1, &session, sizeof session);
    push((const uint8_t *)"", 1);
    frame(TFIN_HELLO_REQUEST, 1, greeting, sizeof greeting);
    require(answer[0] == TFIN_HELLO &&
            memcmp(answer + TFIN_FRAME_HEAD + 4, &session, sizeof session) == 0);
    require(answer[TFIN_FRAME_HEAD + 14] == 0 && answer[TFIN_FRAME_HEAD + 15] == 0);
    next = 0;
    last_size = 0;
    frame(TFIN_STATE_RESET, 0, NULL, 0);
    require(next == 1);
}

static void report(void)
{
    fprintf(stderr, "stat::number_of_frames: %llu\n", (unsigned long long)frames);
}

static void start(void)
{
    size_t pack_size;
    uint8_t *pack = rig_read(FUZZ_PACK, &pack_size);
    require(pack_size == sizeof tinyfin_pack);
    memcpy(tinyfin_pack, pack, pack_size);
    rig_accept(tinyfin_pack, pack_size);
    free(pack);
    save_ram(ram_of_power_up);
    tfin_wire_start();
    save_ram(ram_of_start);
    flash_in_ram_save();
    require(atexit(report) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int started;
    static const uint8_t *at; /* what is left of the input survives a restart */
    static size_t left;
    if (!started) {
        start();
        started = 1;
    }
    restore_ram(ram_of_start);
    flash_in_ram_restore();
    sent_size = session = boots = ticks = 0;
    slowly = 0;
    at = data;
    left = size;
    if (setjmp(ended) != 0) {
        sent_size = 0;
        restore_ram(ram_of_power_up);
        tfin_wire_start();
    }
    begin_session();
    while (left > 0) {
        command(&at, &left);
    }
    return 0;
}

static void restart(void)
{
    longjmp(ended, 1);
}

void tfin_port_reset(void)
{
    restart();
}

void tfin_port_exit(int code)
{
    (void)code;
    restart();
}

int tfin_port_set_baud(uint32_t baud)
{
    return baud % 100u == 0;
}

uint32_t tfin_port_entropy(void)
{
    return ++boots;
}

uint32_t tfin_port_ticks(void)
{
    return ticks += 7;
}

uint32_t tfin_port_receive_overruns(void)
{
    return 0;
}
