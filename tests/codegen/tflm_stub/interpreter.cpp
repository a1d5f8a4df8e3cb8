// SPDX-License-Identifier: Apache-2.0
// Dense layers as TensorFlow Lite Micro computes them: its double rounding, written here once more.
#include "tensorflow/lite/micro/micro_interpreter.h"

#include <string.h>

static int8_t buffers[3][1024]; // input, output, the input of the last layer

static int32_t rescaled(int32_t x, int32_t multiplier, int shift)
{
    int64_t shifted = static_cast<int64_t>(x) << (shift > 0 ? shift : 0);
    int64_t high = (shifted * multiplier + (INT64_C(1) << 30)) >> 31;
    int right = shift < 0 ? -shift : 0;
    int64_t mask = (INT64_C(1) << right) - 1;
    int64_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
#ifdef TFLM_STUB_ROUNDS_ONCE // the tests' control: another interpreter's rounding
    return static_cast<int32_t>(high >> right);
#endif
    return static_cast<int32_t>((high >> right) + ((high & mask) > threshold ? 1 : 0));
}

static void dense(const stub_layer &layer, const int8_t *x, int8_t *y)
{
    for (int row = 0; row < layer.outputs; row++) {
        int32_t sum = layer.bias[row];
        for (int k = 0; k < layer.inputs; k++) {
            sum += layer.weights[row * layer.inputs + k] * (x[k] - layer.zero_in);
        }
        int32_t scaled = rescaled(sum, layer.multiplier[row], layer.shift[row]) + layer.zero_out;
        scaled = scaled < layer.low ? layer.low : scaled;
        y[row] = static_cast<int8_t>(scaled > layer.high ? layer.high : scaled);
    }
}

namespace tflite {

TfLiteStatus MicroInterpreter::AllocateTensors()
{
    if (!known_ || size_ < 256) {
        return kTfLiteError;
    }
    const stub_layer &last = stub_layers[stub_layer_count - 1];
    const int sizes[3] = {stub_layers[0].inputs, last.outputs, last.inputs};
    for (int i = 0; i < 3; i++) {
        tensors_[i].type = kTfLiteInt8;
        tensors_[i].data.int8 = buffers[i];
        tensors_[i].bytes = static_cast<size_t>(sizes[i]);
    }
    return kTfLiteOk;
}

TfLiteStatus MicroInterpreter::Invoke()
{
    int8_t x[1024];
    int8_t y[1024];
    memcpy(x, buffers[0], sizeof x);
    for (int i = 0; i < stub_layer_count; i++) {
        if (i == stub_layer_count - 1) {
            memcpy(buffers[2], x, sizeof x);
        }
        dense(stub_layers[i], x, y);
        memcpy(x, y, sizeof x);
    }
    memcpy(buffers[1], x, sizeof x);
    return kTfLiteOk;
}

} // namespace tflite
