// SPDX-License-Identifier: Apache-2.0
// The engine of firmware/lib/tinyfin, called from Python. One NativeEngine holds one pack, or a
// schema and a program without one, and the memory of many terminals.
#include "native_common.h"

#include <nanobind/stl/string.h>

#include <map>
#include <mutex>
#include <vector>

extern "C" {
#include "lanes.h"
#include "sections.h"
#include "tinyfin_monitor.h"
#include "tinyfin_network.h"
#include "tinyfin_port.h"
#include "tinyfin_probation.h"
}

// The engine's port: BLAKE2b is in Python's standard library, the signature in pymonocypher. Both
// are called from tfin_open only, which runs with the GIL held.
static_assert(sizeof(nb::object) <= sizeof(tfin_port_hash));

static nb::object &object_of(tfin_port_hash *hash)
{
    return *reinterpret_cast<nb::object *>(hash);
}

extern "C" void tfin_port_hash_begin(tfin_port_hash *hash)
{
    new (hash)
        nb::object(nb::module_::import_("hashlib").attr("blake2b")(nb::arg("digest_size") = 32));
}

extern "C" void tfin_port_hash_update(tfin_port_hash *hash, const uint8_t *data, size_t size)
{
    object_of(hash).attr("update")(nb::bytes(reinterpret_cast<const char *>(data), size));
}

extern "C" void tfin_port_hash_end(tfin_port_hash *hash, uint8_t digest[32])
{
    nb::bytes out = nb::cast<nb::bytes>(object_of(hash).attr("digest")());
    std::memcpy(digest, out.c_str(), 32);
    object_of(hash).~object();
}

extern "C" uint32_t tfin_port_verify(const uint8_t signature[64], const uint8_t public_key[32],
                                     const uint8_t *message, size_t size)
{
    auto as_bytes = [](const uint8_t *p, size_t n) {
        return nb::bytes(reinterpret_cast<const char *>(p), n);
    };
    nb::object ok = nb::module_::import_("monocypher")
                        .attr("signature_check")(as_bytes(signature, 64), as_bytes(public_key, 32),
                                                 as_bytes(message, size));
    return nb::cast<bool>(ok) ? TFIN_PORT_VERIFIED : 0;
}

namespace {

void infer_rows(tfin_engine *e, Matrix<int8_t> inputs, OutMatrix<int8_t> outputs,
                OutColumn<int32_t> raw)
{
    nb::gil_scoped_release release;
    for (size_t i = 0; i < inputs.shape(0); i++) {
        int rc = tfin_infer(e, inputs.data() + i * inputs.shape(1),
                            static_cast<uint32_t>(inputs.shape(1)), raw.data() + i);
        if (rc != TFIN_OK) {
            nb::gil_scoped_acquire acquire;
            refuse(rc);
        }
        uint32_t n;
        const int8_t *out = tfin_network_output(e, &n);
        std::memcpy(outputs.data() + i * n, out, n);
    }
}

// Where the fields of a record lie, read from the pack's schema; those that the program
// never reads are left out.
struct RecordLayout {
    struct Field {
        uint16_t index;
        uint16_t offset;
        bool wide;
    };
    std::vector<Field> fields;
    uint32_t count = 0;
    uint32_t size = 0;

    RecordLayout(const tfin_schema *schema, const uint8_t *program)
        : count(schema->field_count), size(schema->record_bytes)
    {
        const op *o = tfin_ops(program, PROG_SCORE_AT);
        for (uint32_t i = 0; i < count; i++) {
            bool read = program[PROG_TOKEN_FIELD] == i;
            for (uint32_t k = 0; k < tfin_u16(program + PROG_SCORE_OPS); k++) {
                read = read || (o[k].code == FIELD && o[k].p2 == i);
            }
            const tfin_field &field = tfin_schema_fields(schema)[i];
            if (read) {
                fields.push_back(
                    {static_cast<uint16_t>(i), field.offset, tfin_field_bytes(field.type) == 8});
            }
        }
    }

    void write(uint8_t *record, const int64_t *values, size_t columns, uint32_t present) const
    {
        size_t n = columns < count ? columns : count;
        uint32_t mask = n >= 32 ? present : present & ((1u << n) - 1u);
        std::memcpy(record, &mask, 4);
        for (const Field &field : fields) {
            if (field.index >= n) {
                break;
            }
            if (field.wide) {
                std::memcpy(record + field.offset, &values[field.index], 8);
            } else {
                int32_t narrow = static_cast<int32_t>(values[field.index]);
                std::memcpy(record + field.offset, &narrow, 4);
            }
        }
    }
};

class NativeEngine {
public:
    // restarts: every terminal is taken to have been restarted in any longer pause, so that only
    // the pack's limit for a step of the clock after a boot counts; transactions from a file do not
    // say when terminals were restarted.
    NativeEngine(nb::bytes pack, size_t terminals, bool allow_development_key, nb::bytes keys,
                 bool restarts, bool monitored)
        : pack_(aligned_copy(pack)), engines_(terminals), memory_(terminals)
    {
        int32_t size = tfin_memory_size(pack_.get(), pack.size());
        // tfin_open says it better than tfin_memory_size when the pack is damaged
        memory_size_ = size < 0 ? 0 : static_cast<size_t>(size);
        if (keys.size() % 32 != 0) {
            throw std::runtime_error("trusted keys must be 32 bytes each");
        }
        static const uint32_t record_of_pack = 0;
        tfin_trust trust{};
        trust.record = &record_of_pack;
        trust.keys = reinterpret_cast<const uint8_t *>(keys.c_str());
        trust.key_count = static_cast<uint8_t>(keys.size() / 32);
        trust.allow_development_key = allow_development_key;
        first_memory_ = aligned(memory_size_);
        int rc = tfin_open(&prototype_, pack_.get(), pack.size(), first_memory_.get(), memory_size_,
                           &trust);
        if (rc != TFIN_OK) {
            refuse(rc);
        }
        if (monitored) {
            int32_t bytes = tfin_monitor_bytes(&prototype_);
            if (bytes <= 0) {
                refuse(bytes == 0 ? TFIN_E_SECTION : bytes);
            }
            monitor_size_ = static_cast<size_t>(bytes);
            monitors_.resize(terminals);
            counts_.resize(terminals);
        }
        prepare(restarts);
    }

    // Features only, of a schema and a program without a pack. What a pack's header tells (its id,
    // the head of a state image, the security counter) must not be asked for.
    NativeEngine(nb::bytes schema, nb::bytes program, size_t terminals)
        : schema_(aligned_copy(schema)), pack_(aligned_copy(program)), engines_(terminals),
          memory_(terminals)
    {
        int32_t size =
            tfin_open_program(&prototype_, schema_.get(), static_cast<uint32_t>(schema.size()),
                              pack_.get(), static_cast<uint32_t>(program.size()));
        if (size < 0) {
            refuse(size);
        }
        memory_size_ = static_cast<size_t>(size);
        first_memory_ = aligned(memory_size_);
        tfin_start_program(&prototype_, first_memory_.get(), memory_size_);
        prepare(true);
    }

    size_t feature_count() const { return tfin_u16(prototype_.program + PROG_FEATURES); }
    size_t input_count() const
    {
        uint32_t n;
        tfin_network_input(&prototype_, &n);
        return n;
    }
    size_t output_count() const
    {
        uint32_t n;
        tfin_network_output(&prototype_, &n);
        return n;
    }
    size_t memory_size() const { return memory_size_; }
    size_t state_size() const { return tfin_state_size(&prototype_); }
    size_t terminals() const { return engines_.size(); }
    nb::bytes pack_id() const
    {
        return nb::bytes(reinterpret_cast<const char *>(tfin_pack_id(&prototype_)), 16);
    }

    // Puts the events start..stop - 1 of the stream in order of terminals, in each in the stream's
    // order. Terminals share nothing, so the results are those of the stream's order; but the state
    // of a terminal stays in the cache. The events of terminal t are then
    // bounds[t]..bounds[t + 1] - 1 of `events`, a row of two words each.
    void order(Column<uint8_t> kind, Column<int64_t> index, Column<uint32_t> stream_t,
               Column<int32_t> terminal, size_t start, size_t stop, OutMatrix<uint64_t> events,
               OutColumn<uint32_t> bounds)
    {
        nb::gil_scoped_release release;
        const size_t terminals = engines_.size();
        uint32_t *next = bounds.data();
        std::memset(next, 0, (terminals + 1) * sizeof *next);
        const int64_t *row = index.data();
        const int32_t *of = terminal.data();
        for (size_t i = start; i < stop; i++) {
            next[static_cast<size_t>(of[row[i]]) + 1]++;
        }
        for (size_t t = 1; t <= terminals; t++) {
            next[t] += next[t - 1];
        }
        Event *out = reinterpret_cast<Event *>(events.data());
        for (size_t i = start; i < stop; i++) {
            out[next[static_cast<size_t>(of[row[i]])]++] =
                Event{static_cast<size_t>(row[i]), stream_t.data()[i], kind.data()[i]};
        }
        std::memmove(next + 1, next, terminals * sizeof *next);
        next[0] = 0;
    }

    // Runs the events of the terminals first..last - 1, in order. Parts that share no terminal
    // may run at the same time.
    void run(OutMatrix<uint64_t> events, Column<uint32_t> bounds, size_t first, size_t last,
             Column<uint64_t> id, Column<uint32_t> t_mono, Column<uint32_t> t_local,
             Matrix<int64_t> values, Column<uint32_t> present, Column<uint8_t> result,
             Column<int32_t> response, Column<uint8_t> taken, Column<int8_t> label,
             OutMatrix<int16_t> features, OutMatrix<int8_t> outputs, OutColumn<uint32_t> score,
             OutColumn<int32_t> raw, OutColumn<uint8_t> action, OutMatrix<uint16_t> reasons,
             OutColumn<uint8_t> reason_count, OutColumn<uint16_t> flags)
    {
        nb::gil_scoped_release release;
        Table table{id.data(),      t_mono.data(), t_local.data(),  values.data(), values.shape(1),
                    present.data(), result.data(), response.data(), taken.data(),  label.data()};
        Answers answers{features.data(), outputs.data(), score.data(),        raw.data(),
                        action.data(),   reasons.data(), reason_count.data(), flags.data(),
                        feature_count(), output_count()};
        run_lanes(reinterpret_cast<const Event *>(events.data()), bounds.data(), first, last, table,
                  answers);
    }

    // Row and kind of each event of the runs since the last call before which a
    // restart is taken to lie.
    nb::list take_restarts()
    {
        nb::list taken;
        for (const auto &[row, kind] : restarts_) {
            taken.append(nb::make_tuple(row, kind));
        }
        restarts_.clear();
        return taken;
    }

    nb::tuple score(size_t terminal, uint64_t id, uint32_t t_mono, uint32_t t_local,
                    Column<int64_t> values, uint32_t present)
    {
        tfin_verdict v;
        score_one(engine(terminal), buffer_.data(), id, t_mono, t_local, values.data(),
                  values.shape(0), present, &v);
        count(terminal, v);
        nb::list reasons;
        for (uint32_t i = 0; i < v.reason_count; i++) {
            reasons.append(v.reasons[i]);
        }
        return nb::make_tuple(v.id, v.score_q32, v.raw, v.action, nb::tuple(reasons), v.flags);
    }

    // A record as the application would pass it, for tests of short and long records.
    // Returns the engine's error.
    int score_record(size_t terminal, uint64_t id, uint32_t t_mono, uint32_t t_local,
                     nb::bytes record)
    {
        std::vector<uint64_t> copy((record.size() + 7) / 8 + 1, 0);
        std::memcpy(copy.data(), record.c_str(), record.size());
        tfin_event event{id, t_mono, t_local, copy.data(), static_cast<uint32_t>(record.size())};
        tfin_verdict v;
        return tfin_score(engine(terminal), &event, &v);
    }

    nb::bytes features(size_t terminal)
    {
        uint32_t n;
        const int16_t *p = tfin_features(engine(terminal), &n);
        return nb::bytes(reinterpret_cast<const char *>(p), n * sizeof(int16_t));
    }

    nb::bytes inputs(size_t terminal)
    {
        uint32_t n;
        const int8_t *p = tfin_network_input(engine(terminal), &n);
        return nb::bytes(reinterpret_cast<const char *>(p), n);
    }

    nb::bytes outputs(size_t terminal)
    {
        uint32_t n;
        const int8_t *p = tfin_network_output(engine(terminal), &n);
        return nb::bytes(reinterpret_cast<const char *>(p), n);
    }

    int outcome(size_t terminal, uint64_t id, uint32_t t_mono, uint8_t result, int16_t response,
                uint8_t action_taken)
    {
        tfin_outcome o{};
        o.id = id;
        o.t_mono_s = t_mono;
        o.result = result;
        o.action_taken = action_taken;
        o.response = response;
        return tfin_apply_outcome(engine(terminal), &o);
    }

    int notice(size_t terminal, uint64_t id, uint64_t token, uint32_t t_mono, uint32_t t_tx_mono,
               uint8_t fraud)
    {
        tfin_notice n{id, token, t_mono, t_tx_mono, fraud};
        return tfin_apply_notice(engine(terminal), &n);
    }

    void infer(Matrix<int8_t> inputs, OutMatrix<int8_t> outputs, OutColumn<int32_t> raw)
    {
        infer_rows(engine(0), inputs, outputs, raw);
    }

    nb::bytes export_state(size_t terminal)
    {
        std::vector<uint8_t> out(state_size());
        int rc =
            tfin_export_state(engine(terminal), 0, out.data(), static_cast<uint32_t>(out.size()));
        if (rc != TFIN_OK) {
            refuse(rc);
        }
        return nb::bytes(reinterpret_cast<const char *>(out.data()), out.size());
    }

    int import_state(size_t terminal, uint32_t offset, nb::bytes image)
    {
        return tfin_import_state(engine(terminal), offset, image.c_str(),
                                 static_cast<uint32_t>(image.size()));
    }

    // Counts the event of the terminal that was scored last. 1: its level has changed.
    int count(size_t terminal, const tfin_verdict &verdict)
    {
        return monitors_.empty() ? 0 : tfin_monitor_count(&monitors_[terminal], &verdict);
    }

    nb::bytes export_monitor(size_t terminal)
    {
        tfin_monitor *m = monitor(terminal);
        std::vector<uint8_t> out(tfin_monitor_size(m));
        int rc = tfin_monitor_export(m, out.data(), static_cast<uint32_t>(out.size()));
        if (rc != TFIN_OK) {
            refuse(rc);
        }
        return nb::bytes(reinterpret_cast<const char *>(out.data()), out.size());
    }

    int import_monitor(size_t terminal, nb::bytes image)
    {
        return tfin_monitor_import(monitor(terminal), image.c_str(),
                                   static_cast<uint32_t>(image.size()));
    }

    int rebase_time(size_t terminal, uint32_t t_mono)
    {
        return tfin_rebase_time(engine(terminal), t_mono);
    }
    uint32_t security_counter() const { return tfin_security_counter(&prototype_); }
    void reset(size_t terminal) { tfin_reset(engine(terminal)); }
    void erase_card(size_t terminal, uint64_t token) { tfin_erase_card(engine(terminal), token); }
    uint32_t state_digest(size_t terminal) { return tfin_state_digest(engine(terminal)); }

    // The terminal's probation: `pack` in the shadow of the pack that runs. The engine's error.
    int begin_shadow(size_t terminal, nb::bytes pack, bool allow_development_key, nb::bytes keys)
    {
        static const uint32_t record_of_pack = 0;
        Probation &p = probations_[terminal];
        p.pack = aligned_copy(pack);
        tfin_trust trust{};
        trust.record = &record_of_pack;
        trust.keys = reinterpret_cast<const uint8_t *>(keys.c_str());
        trust.key_count = static_cast<uint8_t>(keys.size() / 32);
        trust.allow_development_key = allow_development_key;
        tfin_verified verified;
        int rc = tfin_verify(&verified, p.pack.get(), pack.size(), &trust);
        return rc == TFIN_OK ? tfin_probation_shadow(&p.of, engine(terminal), &verified) : rc;
    }

    int begin_trial(size_t terminal)
    {
        return tfin_probation_trial(&probations_[terminal].of, engine(terminal));
    }

    // The same with the state of this terminal in `own`, which outlives this engine's use of it.
    int begin_apart(size_t terminal, NativeEngine &own)
    {
        return tfin_probation_apart(&probations_[terminal].of, engine(terminal),
                                    own.engine(terminal));
    }

    int count_probation(size_t terminal, uint32_t score, int32_t raw, uint8_t action,
                        uint16_t flags)
    {
        const tfin_verdict v = verdict_of(score, raw, action, flags);
        return tfin_probation_count(&probations_.at(terminal).of, &v);
    }

    int count_apart(size_t terminal, uint32_t score, uint8_t action, NativeEngine &own,
                    uint32_t own_score, int32_t own_raw, uint16_t own_flags)
    {
        const tfin_verdict v = verdict_of(score, 0, action, 0);
        const tfin_verdict o = verdict_of(own_score, own_raw, 0, own_flags);
        return tfin_probation_count_apart(&probations_.at(terminal).of, own.engine(terminal), &v,
                                          &o);
    }

    int probation_result(size_t terminal) const
    {
        return tfin_probation_result(&probations_.at(terminal).of);
    }

    bool probation_advances(size_t terminal) const
    {
        return tfin_probation_advances(&probations_.at(terminal).of) != 0;
    }

    nb::bytes export_probation(size_t terminal) const
    {
        uint8_t image[TFIN_PROBATION_IMAGE_BYTES];
        int rc = tfin_probation_export(&probations_.at(terminal).of, image);
        if (rc != TFIN_OK) {
            refuse(rc);
        }
        return nb::bytes(reinterpret_cast<const char *>(image), sizeof image);
    }

    int import_probation(size_t terminal, nb::bytes image)
    {
        return image.size() == TFIN_PROBATION_IMAGE_BYTES
                   ? tfin_probation_import(&probations_.at(terminal).of, image.c_str())
                   : TFIN_E_ARGUMENT;
    }

    nb::dict stats(size_t terminal)
    {
        tfin_stats s;
        tfin_get_stats(engine(terminal), &s);
        nb::dict d;
        d["scored"] = s.scored;
        d["committed"] = s.committed;
        d["clock_clamps"] = s.clock_clamps;
        d["saturations"] = s.saturations;
        d["pending_overflows"] = s.pending_overflows;
        d["unknown_outcomes"] = s.unknown_outcomes;
        d["notices"] = s.notices;
        d["notice_duplicates"] = s.notice_duplicates;
        d["label_overflows"] = s.label_overflows;
        d["evictions"] = s.evictions;
        return d;
    }

private:
    void prepare(bool restarts)
    {
        pause_s_ = prototype_.leap_s[1];
        if (restarts) {
            prototype_.leap_s[1] = prototype_.leap_s[0];
        }
        record_ = std::make_unique<RecordLayout>(prototype_.schema, prototype_.program);
        std::vector<uint64_t> buffer((record_->size + 7) / 8, 0);
        buffer_.swap(buffer);
    }

    static constexpr size_t AHEAD = 6; // events of a terminal whose rows are fetched early

    // An event of the stream: what happens when, and the row of its transaction.
    struct Event {
        size_t row;
        uint32_t t;
        uint8_t kind; // 0 score, 1 outcome, 2 and above notice; of odd ones the label is another
    };
    static_assert(sizeof(Event) == 16, "two words of a row");

    // The transactions, a row each.
    struct Table {
        const uint64_t *id;
        const uint32_t *t_mono;
        const uint32_t *t_local;
        const int64_t *values;
        size_t columns;
        const uint32_t *present;
        const uint8_t *result;
        const int32_t *response;
        const uint8_t *taken;
        const int8_t *label;
    };

    // What is computed of them.
    struct Answers {
        int16_t *features;
        int8_t *outputs;
        uint32_t *score;
        int32_t *raw;
        uint8_t *action;
        uint16_t *reasons;
        uint8_t *reason_count;
        uint16_t *flags;
        size_t n_features;
        size_t n_outputs;
    };

    static tfin_verdict verdict_of(uint32_t score, int32_t raw, uint8_t action, uint16_t flags)
    {
        tfin_verdict v{};
        v.score_q32 = score;
        v.raw = raw;
        v.action = action;
        v.flags = flags;
        return v;
    }

    struct Probation {
        Memory pack;
        tfin_probation of{};
    };

    // The events of one terminal that are still to run.
    struct Queue {
        tfin_engine *engine;
        const Event *next, *end, *fetched;
    };

    // Each lane runs the events of a terminal, one after the other, until they are done; then it
    // takes the next terminal.
    void run_lanes(const Event *events, const uint32_t *bounds, size_t first, size_t last,
                   const Table &table, const Answers &out)
    {
        Memory memory = aligned(tfin_lanes_size(&prototype_));
        tfin_lanes *lanes = reinterpret_cast<tfin_lanes *>(memory.get());
        tfin_lanes_init(lanes, &prototype_);
        std::vector<uint64_t> records(buffer_.size() * TFIN_LANES, 0);
        Queue queue[TFIN_LANES];
        tfin_engine *engines[TFIN_LANES];
        tfin_event scores[TFIN_LANES];
        tfin_outcome outcomes[TFIN_LANES];
        tfin_verdict verdicts[TFIN_LANES];
        size_t rows[TFIN_LANES];
        uint32_t clock[TFIN_LANES];
        uint32_t active = 0;
        size_t terminal = first;
        auto refill = [&](Queue &q) {
            while (terminal != last && bounds[terminal] == bounds[terminal + 1]) {
                terminal++;
            }
            if (terminal == last) {
                return false;
            }
            const Event *begin = events + bounds[terminal];
            q = Queue{engine(terminal), begin, events + bounds[terminal + 1], begin};
            terminal++;
            return true;
        };
        while (active < TFIN_LANES && refill(queue[active])) {
            fetch(table, out, queue[active]);
            active++;
        }
        while (active != 0) {
            uint32_t n = 0;
            for (uint32_t lane = 0; lane < active; lane++) {
                Queue &q = queue[lane];
                notices(table, q);
                while (q.next == q.end && refill(q)) {
                    notices(table, q);
                }
                if (q.next == q.end) { // no terminal is left for this lane
                    queue[lane--] = queue[--active];
                    continue;
                }
                if (q.next->kind == 0) {
                    size_t row = q.next->row;
                    uint64_t *record = records.data() + buffer_.size() * n;
                    record_->write(reinterpret_cast<uint8_t *>(record),
                                   table.values + row * table.columns, table.columns,
                                   table.present[row]);
                    scores[n] = tfin_event{table.id[row], table.t_mono[row], table.t_local[row],
                                           record, record_->size};
                    rows[n] = row;
                    clock[n] = clock_of(q.engine);
                    engines[n++] = q.engine;
                    q.next++;
                }
                fetch(table, out, q);
            }
            int rc = tfin_lanes_score(lanes, n, engines, scores, verdicts);
            if (rc != TFIN_OK) {
                throw std::runtime_error(tfin_error_name(rc));
            }
            for (uint32_t i = 0; i < n; i++) {
                keep(out, engines[i], verdicts[i], rows[i]);
                count(static_cast<size_t>(engines[i] - engines_.data()), verdicts[i]);
                note_restart(engines[i], clock[i], rows[i], 0);
            }
            n = 0;
            for (uint32_t lane = 0; lane < active; lane++) {
                Queue &q = queue[lane];
                notices(table, q);
                if (q.next == q.end || q.next->kind != 1) {
                    continue;
                }
                size_t row = q.next->row;
                outcomes[n] = tfin_outcome{};
                outcomes[n].id = table.id[row];
                outcomes[n].t_mono_s = q.next->t;
                outcomes[n].result = table.result[row];
                outcomes[n].action_taken = table.taken[row];
                outcomes[n].response = static_cast<int16_t>(table.response[row]);
                rows[n] = row;
                clock[n] = clock_of(q.engine);
                engines[n++] = q.engine;
                q.next++;
            }
            tfin_lanes_outcome(lanes, n, engines, outcomes);
            for (uint32_t i = 0; i < n; i++) {
                note_restart(engines[i], clock[i], rows[i], 1);
            }
        }
    }

    // The rows of one terminal lie far apart: they are fetched while the other lanes run.
    static void fetch(const Table &table, const Answers &out, Queue &q)
    {
        for (; q.fetched != q.end && q.fetched < q.next + AHEAD; q.fetched++) {
            size_t row = q.fetched->row;
            __builtin_prefetch(table.id + row);
            if (q.fetched->kind == 0) {
                const int64_t *v = table.values + row * table.columns;
                for (size_t c = 0; c < table.columns; c += 8) {
                    __builtin_prefetch(v + c);
                }
                __builtin_prefetch(v + table.columns - 1);
                __builtin_prefetch(table.t_mono + row);
                __builtin_prefetch(table.t_local + row);
                __builtin_prefetch(table.present + row);
                __builtin_prefetch(out.features + row * out.n_features, 1);
                __builtin_prefetch(out.features + row * out.n_features + out.n_features - 1, 1);
            } else if (q.fetched->kind == 1) {
                __builtin_prefetch(table.result + row);
                __builtin_prefetch(table.response + row);
                __builtin_prefetch(table.taken + row);
            } else {
                __builtin_prefetch(table.t_mono + row);
                __builtin_prefetch(table.label + row);
            }
        }
    }

    void notices(const Table &table, Queue &q)
    {
        const bool cards = tfin_u16(prototype_.program + PROG_CARD_LABELS) != 0;
        const size_t token_field = cards ? prototype_.program[PROG_TOKEN_FIELD] : size_t{NO_FIELD};
        for (; q.next != q.end && q.next->kind >= 2; q.next++) {
            size_t row = q.next->row;
            tfin_notice notice{};
            notice.id = table.id[row];
            if (token_field < table.columns && (table.present[row] >> token_field & 1u) != 0) {
                notice.token =
                    static_cast<uint64_t>(table.values[row * table.columns + token_field]);
            }
            notice.t_mono_s = q.next->t;
            notice.t_tx_mono_s = table.t_mono[row];
            notice.fraud = (table.label[row] == 1) != (q.next->kind % 2 == 1);
            uint32_t last = clock_of(q.engine);
            tfin_apply_notice(q.engine, &notice);
            note_restart(q.engine, last, row, q.next->kind);
        }
    }

    static uint32_t clock_of(const tfin_engine *e) { return tfin_u32(e->state + HEAD_LAST_T); }

    void note_restart(const tfin_engine *e, uint32_t last, size_t row, int kind)
    {
        if (last != 0 && clock_of(e) - last > pause_s_) {
            std::lock_guard<std::mutex> lock(restarts_mutex_);
            restarts_.emplace_back(row, kind);
        }
    }

    static void keep(const Answers &out, const tfin_engine *e, const tfin_verdict &verdict,
                     size_t row)
    {
        uint32_t count;
        std::memcpy(out.features + row * out.n_features, tfin_features(e, &count),
                    out.n_features * sizeof(int16_t));
        out.flags[row] = verdict.flags;
        if (out.n_outputs == 0) { // no network, no verdict
            return;
        }
        std::memcpy(out.outputs + row * out.n_outputs, tfin_network_output(e, &count),
                    out.n_outputs);
        out.score[row] = verdict.score_q32;
        out.raw[row] = verdict.raw;
        out.action[row] = verdict.action;
        out.reason_count[row] = verdict.reason_count;
        std::memcpy(out.reasons + row * TFIN_MAX_REASONS, verdict.reasons, sizeof verdict.reasons);
    }

    // Memory of a terminal is made when it is first met.
    tfin_engine *engine(size_t terminal)
    {
        if (terminal >= engines_.size()) {
            throw std::out_of_range("terminal index is past the number of terminals");
        }
        if (!memory_[terminal]) {
            memory_[terminal] = aligned(memory_size_);
            engines_[terminal] = prototype_;
            engines_[terminal].state = memory_[terminal].get();
            tfin_reset(&engines_[terminal]);
            if (!monitors_.empty()) {
                counts_[terminal] = aligned(monitor_size_);
                tfin_monitor_open(&monitors_[terminal], &engines_[terminal],
                                  counts_[terminal].get(), monitor_size_);
            }
        }
        return &engines_[terminal];
    }

    tfin_monitor *monitor(size_t terminal)
    {
        engine(terminal);
        if (monitors_.empty()) {
            refuse(TFIN_E_CLOSED);
        }
        return &monitors_[terminal];
    }

    void score_one(tfin_engine *e, uint64_t *record, uint64_t id, uint32_t t_mono, uint32_t t_local,
                   const int64_t *values, size_t count, uint32_t present, tfin_verdict *verdict)
    {
        record_->write(reinterpret_cast<uint8_t *>(record), values, count, present);
        tfin_event event{id, t_mono, t_local, record, record_->size};
        int rc = tfin_score(e, &event, verdict);
        if (rc != TFIN_OK) {
            throw std::runtime_error(tfin_error_name(rc));
        }
    }

    Memory schema_; // null where the pack has it
    Memory pack_;   // or the program alone
    Memory first_memory_;
    size_t memory_size_ = 0;
    uint32_t pause_s_ = 0; // a longer one holds a restart
    std::vector<std::pair<size_t, int>> restarts_;
    std::mutex restarts_mutex_;
    tfin_engine prototype_{};
    std::unique_ptr<RecordLayout> record_;
    std::vector<uint64_t> buffer_;
    std::vector<tfin_engine> engines_;
    std::vector<Memory> memory_;
    std::map<size_t, Probation> probations_; // by terminal
    size_t monitor_size_ = 0;
    std::vector<tfin_monitor> monitors_; // empty: nothing is counted
    std::vector<Memory> counts_;
};

// A plan and its read-out, without a pack.
class NativeNetwork {
public:
    NativeNetwork(nb::bytes plan, nb::bytes readout)
        : plan_(aligned_copy(plan)), readout_(aligned_copy(readout))
    {
        int rc = tfin_open_network(&engine_, plan_.get(), static_cast<uint32_t>(plan.size()),
                                   readout_.get(), static_cast<uint32_t>(readout.size()));
        if (rc != TFIN_OK) {
            refuse(rc);
        }
        arena_ = aligned(tfin_net_arena_size(plan_.get()));
        engine_.state = arena_.get();
    }

    size_t input_count() const { return tfin_net_input_length(plan_.get()); }
    size_t output_count() const { return tfin_net_output_length(plan_.get()); }

    void infer(Matrix<int8_t> inputs, OutMatrix<int8_t> outputs, OutColumn<int32_t> raw)
    {
        infer_rows(&engine_, inputs, outputs, raw);
    }

private:
    Memory plan_, readout_, arena_;
    tfin_engine engine_{};
};

// Checks a pack's frame, sections and their contents, but no signature: memory in bytes, or an
// error.
int32_t pack_memory(nb::bytes pack)
{
    return tfin_memory_size(aligned_copy(pack).get(), pack.size());
}

// Bytes of memory that the pack's monitor needs, 0 when it has none, or an error.
int32_t pack_monitor(nb::bytes pack)
{
    return tfin_monitor_bytes_of(aligned_copy(pack).get(), pack.size());
}

} // namespace

NB_MODULE(_native, m)
{
    bind_cards(m);
    m.def("pack_monitor", &pack_monitor);
    m.def("pack_memory", &pack_memory);
    m.attr("ENGINE_VERSION") = TFIN_VERSION;
    m.attr("PACK_FORMAT") = TFIN_PACK_FORMAT;
    m.attr("STATE_FORMAT") = TFIN_STATE_FORMAT;
    m.def("error_name", &tfin_error_name);
    m.def("log2_q8", &tfin_log2_q8);
    nb::class_<NativeNetwork>(m, "NativeNetwork")
        .def(nb::init<nb::bytes, nb::bytes>())
        .def_prop_ro("input_count", &NativeNetwork::input_count)
        .def_prop_ro("output_count", &NativeNetwork::output_count)
        .def("infer", &NativeNetwork::infer);
    nb::class_<NativeEngine>(m, "NativeEngine")
        .def(nb::init<nb::bytes, size_t, bool, nb::bytes, bool, bool>())
        .def(nb::init<nb::bytes, nb::bytes, size_t>())
        .def_prop_ro("feature_count", &NativeEngine::feature_count)
        .def_prop_ro("input_count", &NativeEngine::input_count)
        .def_prop_ro("output_count", &NativeEngine::output_count)
        .def_prop_ro("memory_size", &NativeEngine::memory_size)
        .def_prop_ro("state_size", &NativeEngine::state_size)
        .def_prop_ro("terminals", &NativeEngine::terminals)
        .def_prop_ro("pack_id", &NativeEngine::pack_id)
        .def("order", &NativeEngine::order)
        .def("run", &NativeEngine::run)
        .def("take_restarts", &NativeEngine::take_restarts)
        .def("score", &NativeEngine::score)
        .def("score_record", &NativeEngine::score_record)
        .def("features", &NativeEngine::features)
        .def("inputs", &NativeEngine::inputs)
        .def("outputs", &NativeEngine::outputs)
        .def("outcome", &NativeEngine::outcome)
        .def("notice", &NativeEngine::notice)
        .def("infer", &NativeEngine::infer)
        .def("export_state", &NativeEngine::export_state)
        .def("import_state", &NativeEngine::import_state)
        .def("export_monitor", &NativeEngine::export_monitor)
        .def("import_monitor", &NativeEngine::import_monitor)
        .def("rebase_time", &NativeEngine::rebase_time)
        .def_prop_ro("security_counter", &NativeEngine::security_counter)
        .def("reset", &NativeEngine::reset)
        .def("erase_card", &NativeEngine::erase_card)
        .def("state_digest", &NativeEngine::state_digest)
        .def("begin_shadow", &NativeEngine::begin_shadow)
        .def("begin_trial", &NativeEngine::begin_trial)
        .def("begin_apart", &NativeEngine::begin_apart)
        .def("count_apart", &NativeEngine::count_apart)
        .def("count_probation", &NativeEngine::count_probation)
        .def("probation_result", &NativeEngine::probation_result)
        .def("probation_advances", &NativeEngine::probation_advances)
        .def("export_probation", &NativeEngine::export_probation)
        .def("import_probation", &NativeEngine::import_probation)
        .def("stats", &NativeEngine::stats);
}
