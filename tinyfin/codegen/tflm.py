# SPDX-License-Identifier: Apache-2.0
"""What a user of TensorFlow Lite Micro needs to run the network of a pack by its interpreter.

The adapter is ``firmware/tflm/tinyfin_tflm.cpp``. Here its facts are written: the model as an
array, the operators to register, the arena that the interpreter needs, measured with the
interpreter itself, and the last dense layer, whose 32-bit sums the read-out may ask for.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyfin import files, optional_packages, paths
from tinyfin.codegen.emit import c_array, write_text
from tinyfin.errors import InputError, ModelError
from tinyfin.formats import PackHeader, PlanHeader, sections_of
from tinyfin.progress import stage
from tinyfin.tflite.model import TfliteModel, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FILES", "arena_bytes", "emit_tflm", "model_for_tflm"]

FILES = ("tinyfin_tflm_model.h", "tinyfin_tflm_model.c", "tinyfin_tflm.cpp")
"""What :func:`emit_tflm` writes."""

_METHODS = {
    "ADD": "Add",
    "CONCATENATION": "Concatenation",
    "FULLY_CONNECTED": "FullyConnected",
    "LEAKY_RELU": "LeakyRelu",
    "LOGISTIC": "Logistic",
    "MEAN": "Mean",
    "MUL": "Mul",
    "QUANTIZE": "Quantize",
    "RELU": "Relu",
    "RELU6": "Relu6",
    "RESHAPE": "Reshape",
    "SOFTMAX": "Softmax",
    "SQUARED_DIFFERENCE": "SquaredDifference",
    "SUB": "Sub",
    "SUM": "Sum",
    "TANH": "Tanh",
}
"""Operators by what TFLM's MicroMutableOpResolver calls them."""

_ROOMY_BYTES = 1 << 20
_STEP_BYTES = 64
_TRIES = 16
_MEASURE_S = 60.0
_MEASURE = """
import sys
import numpy as np
from tflite_micro import runtime
interpreter = runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size=int(sys.argv[1]))
interpreter.set_input(np.zeros(interpreter.get_input_details(0)["shape"], np.int8), 0)
interpreter.invoke()
interpreter.print_allocations()
"""
"""In a process of its own: an arena that is too small ends the interpreter by a signal."""


@dataclass(frozen=True)
class _LastLayer:
    """The last FULLY_CONNECTED of a network."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    zero_point: int
    source: int
    """The tensor that it reads."""


def emit_tflm(pack: bytes, tflite: bytes, folder: Path) -> list[Path]:
    """Write the adapter and its facts for the network of a pack; the paths.

    Raises InputError when the pack has another network than the file, ModelError for an operator
    that TFLM has not, ToolError without tflite-micro.
    """
    optional_packages.require(("tflite", "tflite_micro"), "to measure the interpreter's arena")
    sections = sections_of(pack)
    if "PLAN" not in sections:
        raise InputError("the pack has no network, so there is nothing for TFLM to run")
    if PackHeader.read(pack).model_id != hashlib.blake2b(tflite, digest_size=32).digest()[:16]:
        raise InputError(
            "model.tflite is not the network of the pack next to it; `tinyfin quantize` writes both"
        )
    plan = PlanHeader.read(sections["PLAN"])
    network = load(tflite)
    last = _last_layer(network) if plan.accumulators else None
    model = tflite
    if last is not None and last.source != network.input:
        model = model_for_tflm(tflite, last.source)
    operators = sorted({operator.name for operator in network.operators})
    _refuse_unknown(operators)
    header = _header(sections["PLAN"], plan, network, operators, last, arena_bytes(model))
    adapter = paths.firmware_dir() / "tflm" / FILES[2]
    return [
        write_text(folder / FILES[0], header),
        write_text(folder / FILES[1], _arrays(model, last)),
        files.write(folder / FILES[2], adapter.read_bytes()),
    ]


def model_for_tflm(tflite: bytes, output: int) -> bytes:
    """The same network with a second output, a tensor that an operator writes on the way."""
    import flatbuffers
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    graph: Any = model.subgraphs[0]
    graph.outputs = np.array([*graph.outputs, output], np.int32)
    model.signatureDefs = []  # they name the outputs
    builder = flatbuffers.Builder(len(tflite))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def arena_bytes(model: bytes) -> int:
    """The arena with which TFLM's interpreter runs a model on this machine, a multiple of 16.

    The pointers in it have 64 bits here: a 32-bit core needs less. Raises ModelError when the
    interpreter refuses the model.
    """
    with stage("measuring TFLM's arena"):
        roomy = _run(model, _ROOMY_BYTES)
        found = re.search(r"Arena allocation total (\d+) bytes", roomy.stderr)
        if roomy.returncode != 0 or found is None:
            told = roomy.stderr.strip().splitlines()
            raise ModelError(f"TFLM refuses this network: {told[-1] if told else 'no message'}")
        size = -(-int(found[1]) // 16) * 16
        for _ in range(_TRIES):
            if _run(model, size).returncode == 0:
                return size
            size += _STEP_BYTES
    raise ModelError(f"TFLM needs more than {size} bytes of arena and does not say how many")


def _run(model: bytes, arena: int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(arena)],
        input=model,
        capture_output=True,
        timeout=_MEASURE_S,
    )
    told = done.stderr.decode(errors="replace")
    return subprocess.CompletedProcess(done.args, done.returncode, "", told)


def _last_layer(network: TfliteModel) -> _LastLayer:
    operator = [one for one in network.operators if one.name == "FULLY_CONNECTED"][-1]
    weights = network.tensors[operator.inputs[1]].data
    assert weights is not None
    rows = len(weights)
    bias: Any = np.zeros(rows, np.int32)
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        bias = network.tensors[operator.inputs[2]].data
    source = network.tensors[operator.inputs[0]]
    return _LastLayer(
        np.asarray(weights, np.int8).reshape(rows, -1),
        np.asarray(bias, np.int32),
        source.zero_point,
        source.index,
    )


def _refuse_unknown(operators: Sequence[str]) -> None:
    unknown = [name for name in operators if name not in _METHODS]
    if unknown:
        raise ModelError(f"TFLM's resolver has no {', '.join(unknown)}; build the model without it")


def _header(
    plan: bytes,
    head: PlanHeader,
    network: TfliteModel,
    operators: Sequence[str],
    last: _LastLayer | None,
    arena: int,
) -> str:
    added = " && ".join(f"(r).Add{_METHODS[name]}() == kTfLiteOk" for name in operators)
    rows, columns = last.weights.shape if last is not None else (0, 0)
    own_input = last is not None and last.source == network.input
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        "/* Written by `tinyfin codegen --tflm`; do not edit. */",
        "/* clang-format off */",
        "#ifndef TINYFIN_TFLM_MODEL_H",
        "#define TINYFIN_TFLM_MODEL_H",
        "",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "/* the plan of the pack that the model belongs to */",
        f"#define TINYFIN_TFLM_PLAN_BYTES {len(plan)}u",
        f"#define TINYFIN_TFLM_PLAN_CRC 0x{zlib.crc32(plan):08x}u",
        f"#define TINYFIN_TFLM_INPUTS {head.input_length}u",
        f"#define TINYFIN_TFLM_OUTPUTS {head.output_length}u",
        f"/* tflite-micro {version('tflite-micro')} ran this model in so much on a 64-bit",
        " * machine: an upper bound for the same kernels on a 32-bit core with its short pointers.",
        " * Kernels with scratch memory of their own (CMSIS-NN on Helium, ESP-NN) may need more */",
        "#ifndef TINYFIN_TFLM_ARENA_BYTES",
        f"#define TINYFIN_TFLM_ARENA_BYTES {arena}",
        "#endif",
        f"/* {', '.join(operators)} */",
        f"#define TINYFIN_TFLM_OPERATORS {len(operators)}",
        f"#define TINYFIN_TFLM_ADD_OPERATORS(r) ({added})",
        "/* the last dense layer, for the read-out; 0 rows when the output is all that it reads */",
        f"#define TINYFIN_TFLM_ROWS {rows}",
        f"#define TINYFIN_TFLM_COLUMNS {columns}",
        f"#define TINYFIN_TFLM_ZERO_POINT ({last.zero_point if last is not None else 0})",
        "/* the output with its input; 0: it reads the network's input */",
        f"#define TINYFIN_TFLM_LAST_INPUT {0 if last is None or own_input else 1}",
        "",
        "extern const unsigned char tinyfin_tflm_model[]; /* aligned to 16 */",
    ]
    if last is not None:
        lines += [
            f"extern const int8_t tinyfin_tflm_weights[{rows * columns}];",
            f"extern const int32_t tinyfin_tflm_bias[{rows}];",
        ]
    lines += ["#ifdef __cplusplus", "}", "#endif", "#endif", ""]
    return "\n".join(lines)


def _arrays(model: bytes, last: _LastLayer | None) -> str:
    declaration = "const unsigned char tinyfin_tflm_model[] __attribute__((aligned(16)))"
    text = c_array('#include "tinyfin_tflm_model.h"', declaration, model)
    if last is not None:
        text += _numbers("int8_t tinyfin_tflm_weights", last.weights)
        text += _numbers("int32_t tinyfin_tflm_bias", last.bias)
    return text


def _numbers(name: str, values: NDArray[Any]) -> str:
    flat = [str(value) for value in values.reshape(-1).tolist()]
    rows = [", ".join(flat[at : at + 16]) for at in range(0, len(flat), 16)]
    body = ",\n    ".join(rows)
    return f"\nconst {name}[{len(flat)}] = {{\n    {body},\n}};\n"
