/* SPDX-License-Identifier: Apache-2.0 */
/* Export and import of the state image, in pieces; the same bytes on every core. */
#include "internal.h"
#include "network/net_plan.h"

enum { IMAGE_HEADER = STATE_HEADER, IMAGE_MAGIC = 0x54534654, PIECE = 64, FED = 4096 };

/* Part of the image's body, `size` bytes from `offset` on. */
typedef struct piece {
    uint8_t *out;
    uint32_t offset;
    uint32_t size;
} piece;

static void blank(const piece *w, uint32_t start, uint32_t length)
{
    uint32_t end = start + length;
    uint32_t from = start > w->offset ? start : w->offset;
    uint32_t to = end < w->offset + w->size ? end : w->offset + w->size;
    if (from < to) {
        memset(w->out + (from - w->offset), 0, to - from);
    }
}

/* The same for `count` ranges; only those that overlap the piece are visited. */
static void blank_each(const piece *w, uint32_t start, uint32_t length, uint32_t count,
                       uint32_t stride)
{
    uint32_t i = w->offset > start ? (w->offset - start) / stride : 0;
    for (; i < count && start + stride * i < w->offset + w->size; i++) {
        blank(w, start + stride * i, length);
    }
}

/* RAM-only state is never exported: marked operators' state, and marked kept registers. */
static void blank_ram_only(const uint8_t *program, const layout *l, const piece *w)
{
    const op *o = tfin_ops(program, PROG_SCORE_AT);
    for (uint32_t n = tfin_u16(program + PROG_SCORE_OPS); n != 0; n--, o++) {
        if (o->code <= LAST_PURE || (o->flags & FLAG_RAM_ONLY) == 0) {
            continue;
        }
        uint32_t length = tfin_operator_state_size(o);
        if (o->key == KEY_TERMINAL) {
            blank(w, l->terminal + o->state, length);
        } else {
            blank_each(w, l->cards + SLOT_STATE + o->state, length,
                       (uint32_t)tfin_u16(program + PROG_CARD_SETS) * program[PROG_CARD_WAYS],
                       tfin_u16(program + PROG_CARD_SLOT));
        }
    }
    const uint8_t *k = program + tfin_u32(program + PROG_KEPT_AT);
    for (uint32_t n = tfin_u16(program + PROG_KEPT); n != 0; n--, k += 4) {
        uint32_t at = tfin_u16(k + 2);
        if ((at & 0x8000u) != 0) {
            blank_each(w, l->pending + (at & 0x7FFFu), k[1], tfin_u16(program + PROG_PENDING),
                       tfin_u16(program + PROG_PENDING_SIZE));
        }
    }
}

static void copy_body(const tfin_engine *e, const piece *w)
{
    memcpy(w->out, e->state + w->offset, w->size);
    blank_ram_only(e->program, &e->layout, w);
}

uint32_t tfin_state_size(const tfin_engine *e)
{
    return tfin_usable(e) == TFIN_OK ? IMAGE_HEADER + e->layout.body : 0;
}

uint32_t tfin_state_digest(const tfin_engine *e)
{
    uint8_t buffer[PIECE];
    uint32_t crc = 0;
    uint32_t body = tfin_usable(e) == TFIN_OK ? e->layout.body : 0;
    for (uint32_t at = 0; at < body; at += PIECE) {
        if (at % FED == 0) {
            tfin_feed(e->progress, e->progress_context);
        }
        piece w = {.out = buffer, .offset = at, .size = body - at < PIECE ? body - at : PIECE};
        copy_body(e, &w);
        crc = tfin_crc32(crc, buffer, w.size);
    }
    return crc;
}

static void make_header(const tfin_engine *e, uint8_t header[IMAGE_HEADER], uint32_t body)
{
    uint32_t fields[4] = {IMAGE_MAGIC, TFIN_STATE_FORMAT | (uint32_t)IMAGE_HEADER << 16, body,
                          tfin_state_digest(e)};
    memset(header, 0, IMAGE_HEADER);
    memcpy(header, fields, sizeof fields);
    memcpy(header + 16, e->pack + HEADER_STATE_LAYOUT, 16);
}

int tfin_export_state(const tfin_engine *e, uint32_t offset, void *out, uint32_t size)
{
    int rc = tfin_usable(e);
    if (rc != TFIN_OK || out == NULL) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    if (e->import_next != 0) {
        return TFIN_E_STATE_ORDER; /* bytes that are not checked yet must not get a good checksum */
    }
    uint32_t total = IMAGE_HEADER + e->layout.body;
    if (offset > total || size > total - offset) {
        return TFIN_E_ARGUMENT;
    }
    uint8_t *to = out;
    if (offset < IMAGE_HEADER && size != 0) {
        uint8_t header[IMAGE_HEADER];
        uint32_t part = IMAGE_HEADER - offset < size ? IMAGE_HEADER - offset : size;
        make_header(e, header, e->layout.body);
        memcpy(to, header + offset, part);
        to += part;
        offset += part;
        size -= part;
    }
    if (size != 0) {
        piece w = {.out = to, .offset = offset - IMAGE_HEADER, .size = size};
        copy_body(e, &w);
    }
    return TFIN_OK;
}

int tfin_reset(tfin_engine *e)
{
    int rc = tfin_usable(e);
    if (rc == TFIN_OK) {
        memset(e->state, 0, e->memory_bytes); /* scratch too: it holds the last event's token */
        e->import_next = 0;
        e->has_verdict = 0;
    }
    return rc;
}

static int header_ok(const tfin_engine *e, const uint8_t *image, uint32_t body)
{
    uint32_t head[4];
    memcpy(head, image, sizeof head);
    if (head[0] != IMAGE_MAGIC) {
        return TFIN_E_STATE_MAGIC;
    }
    if (head[1] != (TFIN_STATE_FORMAT | (uint32_t)IMAGE_HEADER << 16)) {
        return TFIN_E_STATE_FORMAT;
    }
    if (memcmp(image + 16, e->pack + HEADER_STATE_LAYOUT, 16) != 0 || head[2] != body) {
        return TFIN_E_STATE_LAYOUT;
    }
    for (uint32_t i = 32; i < IMAGE_HEADER; i++) {
        if (image[i] != 0) {
            return TFIN_E_STATE_FORMAT;
        }
    }
    return TFIN_OK;
}

/* The checksum finds damage, not malice. So a count that indexes memory is checked against its
 * capacity. A count that orders entries must have space to grow, because 0 marks a free entry. */
static int counts_ok(const tfin_engine *e)
{
    const uint8_t *p = e->program;
    uint32_t terminal = tfin_u16(p + PROG_TERMINAL_LABELS);
    uint32_t card = tfin_u16(p + PROG_CARD_LABELS);
    uint32_t slot = tfin_u16(p + PROG_CARD_SLOT);
#ifdef TFIN_SABOTAGE_COUNTS
    return 1;
#endif
    uint32_t tick = tfin_u32(e->state + HEAD_CARD_TICK);
    if (((tick | tfin_u32(e->state + HEAD_PENDING_SEQUENCE)) >> 31) != 0) {
        return 0;
    }
    if (terminal != 0 && tfin_u32(e->state + e->layout.terminal_labels) > terminal) {
        return 0;
    }
    if (card != 0) {
        const uint8_t *ring =
            e->state + e->layout.cards + slot - (LABELS_ENTRIES + LABEL_SIZE * card);
        for (uint32_t n = (uint32_t)tfin_u16(p + PROG_CARD_SETS) * p[PROG_CARD_WAYS]; n != 0;
             n--, ring += slot) {
            if (tfin_u32(ring) > card) {
                return 0;
            }
        }
    }
    return 1;
}

int tfin_import_state(tfin_engine *e, uint32_t offset, const void *piece_of_image, uint32_t size)
{
    const uint8_t *image = piece_of_image;
    int rc = tfin_usable(e);
    if (rc != TFIN_OK || image == NULL) {
        return rc != TFIN_OK ? rc : TFIN_E_ARGUMENT;
    }
    uint32_t total = IMAGE_HEADER + e->layout.body;
    if (offset != 0 && offset != e->import_next) {
        return TFIN_E_STATE_ORDER;
    }
    if (offset == 0 && size >= IMAGE_HEADER) {
        rc = header_ok(e, image, e->layout.body); /* an image of another program may be longer */
        if (rc != TFIN_OK) {
            return rc;
        }
    }
    if (offset > total || size > total - offset || (offset == 0 && size < IMAGE_HEADER)) {
        return TFIN_E_ARGUMENT;
    }
    uint32_t next = offset + size;
    if (offset == 0) {
        (void)tfin_reset(e);
        memcpy(&e->import_crc, image + 12, 4);
        offset = IMAGE_HEADER;
        image += IMAGE_HEADER;
        size -= IMAGE_HEADER;
    }
    memcpy(e->state + offset - IMAGE_HEADER, image, size);
    e->import_next = next;
    if (next == total) {
        e->import_next = 0;
        tfin_feed(e->progress, e->progress_context);
        if (tfin_crc32(0, e->state, e->layout.body) != e->import_crc || !counts_ok(e)) {
            (void)tfin_reset(e);
            return TFIN_E_STATE_DIGEST;
        }
        tfin_boot(e);
    }
    return TFIN_OK;
}
