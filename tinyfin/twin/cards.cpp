// SPDX-License-Identifier: Apache-2.0
// The states of many cards under one engine that has a schema and a program, and no pack. A state
// waits outside of the engine, without its counters; an event copies it in, runs, and copies it
// back, a look-up only copies it in.
#include "native_common.h"

#include <algorithm>
#include <utility>
#include <vector>

extern "C" {
#include "sections.h"
}

namespace {

// Where a token is looked for, and which shard it belongs to: sixty-four well-mixed bits, the same
// in every release. The finaliser of SplitMix64; Steele, Lea, Flood: Fast splittable pseudorandom
// number generators, 2014.
uint64_t mixed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void card_shards(Column<uint64_t> token, uint32_t shards, OutColumn<uint32_t> shard)
{
    for (size_t i = 0; i < token.shape(0); i++) {
        shard.data()[i] = static_cast<uint32_t>((mixed(token.data()[i]) >> 32) * shards >> 32);
    }
}

enum kind : uint8_t { REQUEST, OUTCOME, NOTICE };

// Not thread-safe: whoever calls holds a lock. Look-ups and events run without the GIL.
class NativeCards {
public:
    NativeCards(nb::bytes schema, nb::bytes program, uint32_t amount_field, uint32_t capacity)
        : schema_(aligned_copy(schema)), program_(aligned_copy(program)), capacity_(capacity)
    {
        int32_t size =
            tfin_open_program(&engine_, schema_.get(), static_cast<uint32_t>(schema.size()),
                              program_.get(), static_cast<uint32_t>(program.size()));
        if (size < 0) {
            refuse(size);
        }
        memory_ = aligned(static_cast<size_t>(size));
        tfin_start_program(&engine_, memory_.get(), static_cast<size_t>(size));
        engine_.leap_s[1] = engine_.leap_s[0]; // any pause of a card may hold a restart
        rest_ = engine_.layout.body - HEAD_SIZE;
        stride_ = sizeof(Card) + rest_;
        record_.resize((engine_.schema->record_bytes + 7u) / 8u);
        amount_at_ = tfin_schema_fields(engine_.schema)[amount_field].offset;
        uint32_t present = 1u << amount_field;
        std::memcpy(record_.data(), &present, 4);
        size_t places = 64;
        while (places < capacity + size_t{capacity} / 4) {
            places *= 2;
        }
        table_.resize(places);
    }

    size_t feature_count() const { return tfin_u16(engine_.program + PROG_FEATURES); }
    size_t count() const { return used_ - free_.size(); }
    size_t evicted() const { return evicted_; }
    size_t card_bytes() const { return stride_; }
    size_t image_bytes() const { return 2 * sizeof(uint64_t) + stride_ - offsetof(Card, last_t); }
    uint32_t slots() const { return used_; }

    // Features of a transaction of each card at each time. Changes nothing.
    void look_up(Column<uint64_t> token, Column<uint32_t> t, OutMatrix<int16_t> features)
    {
        nb::gil_scoped_release release;
        constexpr size_t AHEAD = 8; // cards that are fetched early
        const size_t n = token.shape(0), width = feature_count();
        std::vector<const Card *> found(n);
        for (size_t i = 0; i < n + AHEAD; i++) {
            if (i + AHEAD < n) {
                __builtin_prefetch(&table_[place_of(token.data()[i + AHEAD])]);
            }
            if (i < n) {
                found[i] = card(find(token.data()[i]));
                for (size_t at = 0; found[i] != nullptr && at < stride_; at += 64) {
                    __builtin_prefetch(reinterpret_cast<const uint8_t *>(found[i]) + at);
                }
            }
            if (i >= AHEAD) {
                load(found[i - AHEAD]);
                score(0, t.data()[i - AHEAD], 0);
                uint32_t count;
                std::memcpy(features.data() + (i - AHEAD) * width, tfin_features(&engine_, &count),
                            width * sizeof(int16_t));
            }
        }
    }

    // Events in order, numbered from `first` on; `about` is the amount of a request, the result of
    // an outcome, and of a notice the time of its transaction; `code` is the response, or whether
    // it was fraud. The engine's error of each. What a card's state holds already changes nothing.
    void apply(uint64_t first, Column<uint8_t> kinds, Column<uint64_t> token, Column<uint64_t> id,
               Column<uint32_t> t, Column<int64_t> about, Column<int16_t> code,
               OutColumn<int32_t> error)
    {
        nb::gil_scoped_release release;
        for (size_t i = 0; i < kinds.shape(0); i++) {
            uint32_t at = find(token.data()[i]);
            if (at != NONE && card(at)->number >= first + i) {
                error.data()[i] = TFIN_OK;
                touch(at);
                continue;
            }
            load(card(at));
            int rc =
                event(kinds.data()[i], id.data()[i], t.data()[i], about.data()[i], code.data()[i]);
            error.data()[i] = rc;
            add_counters();
            if (at == NONE && rc != TFIN_OK) {
                continue; // nothing is kept of a card that nothing has happened to
            }
            at = at == NONE ? add(token.data()[i]) : touch(at);
            card(at)->number = first + i;
            store(at);
        }
    }

    bool forget(uint64_t token)
    {
        uint32_t at = find(token);
        if (at == NONE) {
            return false;
        }
        remove(at);
        std::memset(static_cast<void *>(card(at)), 0, stride_);
        free_.push_back(at);
        return true;
    }

    // Images of the cards in the slots first..last - 1.
    nb::bytes export_cards(uint32_t first, uint32_t last)
    {
        std::vector<uint8_t> out;
        {
            nb::gil_scoped_release release;
            out.reserve(image_bytes() * (last - first));
            for (uint32_t at = first; at < last && at < used_; at++) {
                const Card *c = card(at);
                if (c->token != 0) {
                    append(out, &c->token, 2 * sizeof(uint64_t));
                    append(out, &c->last_t, stride_ - offsetof(Card, last_t));
                }
            }
        }
        return nb::bytes(reinterpret_cast<const char *>(out.data()), out.size());
    }

    // Adds cards. The engine's error: an image that breaks a rule, a card twice, or no space for
    // it, ends it. When all are added, in_order() is due.
    int import_cards(nb::bytes images)
    {
        const char *from = images.c_str();
        for (size_t left = images.size() / image_bytes(); left != 0; left--) {
            uint64_t head[2]; // token, number
            std::memcpy(head, from, sizeof head);
            if (head[0] == 0 || find(head[0]) != NONE || used_ == capacity_) {
                return TFIN_E_STATE_DIGEST;
            }
            Card *c = card(add(head[0]));
            c->number = head[1];
            std::memcpy(&c->last_t, from + sizeof head, stride_ - offsetof(Card, last_t));
            load(c);
            // what tfin_import_state checks of a state
            uint32_t labels = tfin_u16(engine_.program + PROG_TERMINAL_LABELS);
            if (c->sequence >> 31 != 0 ||
                (labels != 0 &&
                 tfin_u32(engine_.state + engine_.layout.terminal_labels) > labels)) {
                return TFIN_E_STATE_DIGEST;
            }
            from += image_bytes();
        }
        return TFIN_OK;
    }

    // After an import: the card with the lowest number is the one without an event for the longest.
    void in_order()
    {
        std::vector<std::pair<uint64_t, uint32_t>> order;
        order.reserve(used_);
        for (uint32_t at = 0; at < used_; at++) {
            order.emplace_back(card(at)->number, at);
        }
        std::sort(order.begin(), order.end());
        oldest_ = newest_ = NONE;
        for (const auto &[number, at] : order) {
            link(at);
        }
    }

    nb::dict counters() const
    {
        static const char *const names[] = {"clock_clamps",     "saturations", "pending_overflows",
                                            "unknown_outcomes", "notices",     "notice_duplicates",
                                            "label_overflows"};
        nb::dict found;
        for (size_t i = 0; i < COUNTERS; i++) {
            found[names[i]] = counters_[i];
        }
        return found;
    }

private:
    static constexpr uint32_t NONE = UINT32_MAX;
    static constexpr uint32_t CHUNK = 1u << 14;
    static constexpr size_t COUNTERS = (HEAD_LABEL_OVERFLOWS - HEAD_CLAMPS) / 4 + 1;

    // In front of each state, whose head is these two words; the rest of the head is counters.
    struct Card {
        uint64_t token;
        uint64_t number;       // of its last event
        uint32_t older, newer; // by that number
        uint32_t last_t, sequence;
    };

    Card *card(uint32_t at) const
    {
        return at == NONE ? nullptr
                          : reinterpret_cast<Card *>(chunks_[at / CHUNK].get() +
                                                     size_t{at % CHUNK} * stride_);
    }

    size_t place_of(uint64_t token) const { return mixed(token) & (table_.size() - 1); }

    uint32_t find(uint64_t token) const
    {
        for (size_t p = place_of(token); table_[p] != 0; p = (p + 1) & (table_.size() - 1)) {
            if (card(table_[p] - 1)->token == token) {
                return table_[p] - 1;
            }
        }
        return NONE;
    }

    // A card without a past; when there is no space the one without an event for the longest goes.
    uint32_t add(uint64_t token)
    {
        uint32_t at;
        if (!free_.empty()) {
            at = free_.back();
            free_.pop_back();
        } else if (used_ < capacity_) {
            if (used_ % CHUNK == 0) {
                uint32_t more = capacity_ - used_ < CHUNK ? capacity_ - used_ : CHUNK;
                chunks_.push_back(aligned(more * stride_));
            }
            at = used_++;
        } else {
            at = oldest_;
            remove(at);
            evicted_++;
            std::memset(static_cast<void *>(card(at)), 0, stride_);
        }
        card(at)->token = token;
        size_t p = place_of(token);
        while (table_[p] != 0) {
            p = (p + 1) & (table_.size() - 1);
        }
        table_[p] = at + 1;
        link(at);
        return at;
    }

    void link(uint32_t at)
    {
        Card *c = card(at);
        c->older = newest_;
        c->newer = NONE;
        (newest_ == NONE ? oldest_ : card(newest_)->newer) = at;
        newest_ = at;
    }

    void unlink(uint32_t at)
    {
        const Card *c = card(at);
        (c->older == NONE ? oldest_ : card(c->older)->newer) = c->newer;
        (c->newer == NONE ? newest_ : card(c->newer)->older) = c->older;
    }

    uint32_t touch(uint32_t at)
    {
        if (at != newest_) {
            unlink(at);
            link(at);
        }
        return at;
    }

    // Out of the order and the table; entries behind it move up, so that none is cut off.
    void remove(uint32_t at)
    {
        unlink(at);
        const size_t mask = table_.size() - 1;
        size_t hole = place_of(card(at)->token);
        while (table_[hole] != at + 1) {
            hole = (hole + 1) & mask;
        }
        for (size_t p = (hole + 1) & mask; table_[p] != 0; p = (p + 1) & mask) {
            size_t home = place_of(card(table_[p] - 1)->token);
            if (((p - home) & mask) >= ((p - hole) & mask)) {
                table_[hole] = table_[p];
                hole = p;
            }
        }
        table_[hole] = 0;
    }

    void load(const Card *c)
    {
        uint8_t *state = engine_.state;
        std::memset(state, 0, c == nullptr ? HEAD_SIZE + rest_ : size_t{HEAD_SIZE});
        if (c != nullptr) {
            tfin_put32(state + HEAD_LAST_T, c->last_t);
            tfin_put32(state + HEAD_PENDING_SEQUENCE, c->sequence);
            std::memcpy(state + HEAD_SIZE, c + 1, rest_);
        }
    }

    void store(uint32_t at)
    {
        Card *c = card(at);
        c->last_t = tfin_u32(engine_.state + HEAD_LAST_T);
        c->sequence = tfin_u32(engine_.state + HEAD_PENDING_SEQUENCE);
        std::memcpy(c + 1, engine_.state + HEAD_SIZE, rest_);
    }

    void add_counters()
    {
        for (size_t i = 0; i < COUNTERS; i++) {
            counters_[i] += tfin_u32(engine_.state + HEAD_CLAMPS + 4 * i);
        }
    }

    int score(uint64_t id, uint32_t t, int64_t amount)
    {
        std::memcpy(reinterpret_cast<uint8_t *>(record_.data()) + amount_at_, &amount, 8);
        tfin_event event{id, t, t, record_.data(), engine_.schema->record_bytes};
        tfin_verdict verdict;
        return tfin_score(&engine_, &event, &verdict);
    }

    int event(uint8_t kind, uint64_t id, uint32_t t, int64_t about, int16_t code)
    {
        if (kind == REQUEST) {
            return score(id, t, about);
        }
        if (kind > NOTICE || about < 0 || about > UINT32_MAX || (kind == OUTCOME && about > 255) ||
            (kind == NOTICE && (code < 0 || code > 1))) {
            return TFIN_E_ARGUMENT;
        }
        if (kind == OUTCOME) {
            tfin_outcome outcome{};
            outcome.id = id;
            outcome.t_mono_s = t;
            outcome.result = static_cast<uint8_t>(about);
            outcome.response = code;
            return tfin_apply_outcome(&engine_, &outcome);
        }
        tfin_notice notice{id, 0, t, static_cast<uint32_t>(about), static_cast<uint8_t>(code)};
        return tfin_apply_notice(&engine_, &notice);
    }

    static void append(std::vector<uint8_t> &out, const void *from, size_t size)
    {
        const uint8_t *p = static_cast<const uint8_t *>(from);
        out.insert(out.end(), p, p + size);
    }

    Memory schema_, program_, memory_;
    tfin_engine engine_{};
    std::vector<uint64_t> record_;
    uint32_t amount_at_ = 0, capacity_, used_ = 0;
    size_t rest_ = 0, stride_ = 0, evicted_ = 0;
    std::vector<Memory> chunks_;
    std::vector<uint32_t> table_; // place of a card and 1, or 0; linear probing
    std::vector<uint32_t> free_;
    uint32_t oldest_ = NONE, newest_ = NONE;
    uint64_t counters_[COUNTERS] = {};
};

} // namespace

void bind_cards(nb::module_ &m)
{
    m.def("card_shards", &card_shards);
    nb::class_<NativeCards>(m, "NativeCards")
        .def(nb::init<nb::bytes, nb::bytes, uint32_t, uint32_t>())
        .def_prop_ro("feature_count", &NativeCards::feature_count)
        .def_prop_ro("count", &NativeCards::count)
        .def_prop_ro("evicted", &NativeCards::evicted)
        .def_prop_ro("card_bytes", &NativeCards::card_bytes)
        .def_prop_ro("image_bytes", &NativeCards::image_bytes)
        .def_prop_ro("slots", &NativeCards::slots)
        .def("look_up", &NativeCards::look_up)
        .def("apply", &NativeCards::apply)
        .def("forget", &NativeCards::forget)
        .def("export_cards", &NativeCards::export_cards)
        .def("import_cards", &NativeCards::import_cards)
        .def("in_order", &NativeCards::in_order)
        .def("counters", &NativeCards::counters);
}
