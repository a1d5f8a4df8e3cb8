// SPDX-License-Identifier: Apache-2.0
// What the files of the extension share.
#ifndef TINYFIN_NATIVE_COMMON_H
#define TINYFIN_NATIVE_COMMON_H

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>

extern "C" {
#include "internal.h"
}

namespace nb = nanobind;

template <typename T>
using Column = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T> using OutColumn = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T> using OutMatrix = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

struct Free {
    void operator()(uint8_t *p) const { std::free(p); }
};
using Memory = std::unique_ptr<uint8_t, Free>;

inline Memory aligned(size_t size)
{
    size_t rounded = (size + TFIN_ALIGN - 1) / TFIN_ALIGN * TFIN_ALIGN;
    uint8_t *p =
        static_cast<uint8_t *>(std::aligned_alloc(TFIN_ALIGN, rounded == 0 ? TFIN_ALIGN : rounded));
    if (p == nullptr) {
        throw std::bad_alloc();
    }
    std::memset(p, 0, rounded);
    return Memory(p);
}

inline Memory aligned_copy(nb::bytes data)
{
    Memory copy = aligned(data.size());
    std::memcpy(copy.get(), data.c_str(), data.size());
    return copy;
}

[[noreturn]] inline void refuse(int rc)
{
    throw std::runtime_error(tfin_error_name(rc));
}

void bind_cards(nb::module_ &m);

#endif
