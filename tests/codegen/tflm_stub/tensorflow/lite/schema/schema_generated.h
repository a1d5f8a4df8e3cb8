// SPDX-License-Identifier: Apache-2.0
#ifndef TFLM_STUB_SCHEMA_GENERATED_H
#define TFLM_STUB_SCHEMA_GENERATED_H

namespace tflite {

struct Model;

inline const Model *GetModel(const void *bytes)
{
    return static_cast<const Model *>(bytes);
}

} // namespace tflite
#endif
