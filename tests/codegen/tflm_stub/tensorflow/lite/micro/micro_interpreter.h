// SPDX-License-Identifier: Apache-2.0
// Stands in for TensorFlow Lite Micro in tests of firmware/tflm: the part of its interface that the
// adapter uses, over a network of dense layers that the test describes in stub_layers.
#ifndef TFLM_STUB_MICRO_INTERPRETER_H
#define TFLM_STUB_MICRO_INTERPRETER_H

#include <stddef.h>
#include <stdint.h>

#include "tensorflow/lite/schema/schema_generated.h"

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
enum TfLiteType { kTfLiteInt32 = 2, kTfLiteInt8 = 9 };

union TfLitePtrUnion {
    int8_t *int8;
};

struct TfLiteTensor {
    TfLiteType type;
    TfLitePtrUnion data;
    size_t bytes;
};

struct stub_layer {
    int inputs, outputs, zero_in, zero_out, low, high;
    const int8_t *weights;
    const int32_t *bias;
    const int32_t *multiplier; // of each row
    const int32_t *shift;
};
extern "C" const stub_layer stub_layers[];
extern "C" const int stub_layer_count;
extern "C" const int stub_operators; // that the model has
extern "C" const int stub_outputs;   // 2: the input of the last layer, too

namespace tflite {

class MicroOpResolver {
public:
    unsigned count = 0;
};

class MicroInterpreter {
public:
    MicroInterpreter(const Model *model, const MicroOpResolver &resolver, uint8_t *arena,
                     size_t size)
        : known_(model != nullptr && arena != nullptr &&
                 resolver.count == static_cast<unsigned>(stub_operators)),
          size_(size)
    {
    }
    TfLiteStatus AllocateTensors();
    TfLiteStatus Invoke();
    TfLiteTensor *input(size_t index) { return index == 0 ? &tensors_[0] : nullptr; }
    TfLiteTensor *output(size_t index)
    {
        return index < static_cast<size_t>(stub_outputs) ? &tensors_[1 + index] : nullptr;
    }

private:
    bool known_;
    size_t size_;
    TfLiteTensor tensors_[3] = {};
};

} // namespace tflite
#endif
