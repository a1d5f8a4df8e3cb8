// SPDX-License-Identifier: Apache-2.0
//
// The network of one pack, run by TensorFlow Lite Micro in place of tinyfin's kernels. Everything
// else stays the engine's: features, input maps, read-out, calibration, decision, reasons, state.
// `tinyfin codegen --tflm` writes the model and its facts next to this file. Compile it instead of
// the library's src/network and src/kernels; docs/firmware.md says how.
//
// The golden vectors of the pack are run when it is opened: an interpreter whose kernels round in
// another way is refused with TFIN_E_GOLDEN.
#include <string.h>

#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
#include "tinyfin_network.h"
#include "tinyfin_tflm_model.h"

static tflite::MicroInterpreter *interpreter; // null until it is ready

static bool is_int8(const TfLiteTensor *tensor, size_t bytes)
{
    return tensor != nullptr && tensor->type == kTfLiteInt8 && tensor->bytes == bytes;
}

// Once. TFIN_E_KERNEL: an operator is missing; TFIN_E_MEMORY: kernels other than the reference ones
// may need a larger arena: define TINYFIN_TFLM_ARENA_BYTES.
static int prepare()
{
    if (interpreter != nullptr) {
        return TFIN_OK;
    }
    alignas(16) static uint8_t arena[TINYFIN_TFLM_ARENA_BYTES];
    static tflite::MicroMutableOpResolver<TINYFIN_TFLM_OPERATORS> resolver;
    static const bool complete = TINYFIN_TFLM_ADD_OPERATORS(resolver);
    if (!complete) {
        return TFIN_E_KERNEL;
    }
    static tflite::MicroInterpreter made(tflite::GetModel(tinyfin_tflm_model), resolver, arena,
                                         sizeof arena);
    if (made.AllocateTensors() != kTfLiteOk) {
        return TFIN_E_MEMORY;
    }
    if (!is_int8(made.input(0), TINYFIN_TFLM_INPUTS) ||
        !is_int8(made.output(0), TINYFIN_TFLM_OUTPUTS)) {
        return TFIN_E_PLAN;
    }
#if TINYFIN_TFLM_ROWS > 0 && TINYFIN_TFLM_LAST_INPUT > 0
    if (!is_int8(made.output(TINYFIN_TFLM_LAST_INPUT), TINYFIN_TFLM_COLUMNS)) {
        return TFIN_E_PLAN;
    }
#endif
    interpreter = &made;
    return TFIN_OK;
}

#if TINYFIN_TFLM_ROWS > 0
// The 32-bit sums of the last dense layer, from which the score is read: an int8 output has too few
// steps for that. The interpreter does not give them away, so they are computed again.
static void sum_last_layer(const uint8_t *plan, uint8_t *arena)
{
#if TINYFIN_TFLM_LAST_INPUT > 0
    const int8_t *x = interpreter->output(TINYFIN_TFLM_LAST_INPUT)->data.int8;
#else
    const int8_t *x = tfin_net_input(plan, arena);
#endif
    uint8_t *to = arena + tfin_plan_u32(plan, TFIN_PLAN_ACCUMULATORS);
    const int8_t *weight = tinyfin_tflm_weights;
    for (uint32_t row = 0; row < TINYFIN_TFLM_ROWS; row++) {
        int32_t sum = tinyfin_tflm_bias[row];
        for (uint32_t k = 0; k < TINYFIN_TFLM_COLUMNS; k++) {
            sum += *weight++ * (x[k] - TINYFIN_TFLM_ZERO_POINT);
        }
        memcpy(to + 4u * row, &sum, sizeof sum);
    }
}
#endif

extern "C" {
// The one plan that the model belongs to, byte for byte: the workstation has checked it.
int tfin_net_check(const uint8_t *plan, uint32_t plan_size, uint32_t kernels)
{
    (void)kernels;
    if ((reinterpret_cast<uintptr_t>(plan) & 15u) != 0) {
        return TFIN_E_ALIGN;
    }
    if (plan_size != TINYFIN_TFLM_PLAN_BYTES ||
        tfin_crc32(0, plan, plan_size) != TINYFIN_TFLM_PLAN_CRC) {
        return TFIN_E_PLAN;
    }
    return prepare();
}

void tfin_net_run(const uint8_t *plan, uint8_t *arena)
{
    memcpy(interpreter->input(0)->data.int8, tfin_net_input(plan, arena), TINYFIN_TFLM_INPUTS);
    if (interpreter->Invoke() != kTfLiteOk) {
        memset(interpreter->output(0)->data.int8, 0, TINYFIN_TFLM_OUTPUTS); // no old answer
    }
    memcpy(tfin_net_output(plan, arena), interpreter->output(0)->data.int8, TINYFIN_TFLM_OUTPUTS);
#if TINYFIN_TFLM_ROWS > 0
    sum_last_layer(plan, arena);
#endif
}

// Reasons are made by running the network again.
int tfin_net_terms_known(const uint8_t *plan)
{
    (void)plan;
    return 0;
}

int32_t tfin_net_change(const uint8_t *plan, uint32_t index, int8_t from, int8_t to)
{
    (void)plan;
    (void)index;
    (void)from;
    (void)to;
    return 0;
}
}
