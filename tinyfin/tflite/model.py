# SPDX-License-Identifier: Apache-2.0
"""Reads an int8 ``.tflite`` file into a small typed graph, and refuses by name what is not known.

The graph says what the file says; what to make of it is the plan compiler's business
(`tinyfin.pack.plan`). Only files of one subgraph with one int8 input and one int8 output are read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
from numpy.typing import NDArray

from tinyfin.errors import ModelError
from tinyfin.tflite.refused_layers import refused_shape

if TYPE_CHECKING:
    import tflite

__all__ = ["BINARY", "SUPPORTED", "Tensor", "TfliteModel", "TfliteOperator", "load"]

#: operator names, as the TFLite schema spells them, that a plan can hold
SUPPORTED = (
    "ADD",
    "CONCATENATION",
    "FULLY_CONNECTED",
    "LEAKY_RELU",
    "LOGISTIC",
    "MEAN",
    "MUL",
    "QUANTIZE",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "RESHAPE",
    "SOFTMAX",
    "SQUARED_DIFFERENCE",
    "SUB",
    "SUM",
    "TANH",
)

#: operators of two operands, one of which may be constant
BINARY = ("ADD", "MUL", "SQUARED_DIFFERENCE", "SUB")

_BATCH = (
    "the batch is not fixed, so a Reshape or Flatten layer has to ask for it: convert with a fixed "
    "batch: keras.Input(shape, batch_size=1)"
)

_INSTEAD = {
    "ABS": "use relu, or the square (MUL by itself)",
    "BATCH_MATMUL": "use Dense layers: the second factor must be constant",
    "CONV_1D": "use Dense layers over the flattened window",
    "CONV_2D": "use Dense layers over the flattened window",
    "DEPTHWISE_CONV_2D": "use Dense layers over the flattened window",
    "DEQUANTIZE": "convert with inference_output_type=int8",
    "ELU": "use relu, LeakyReLU or silu",
    "GELU": "use relu, LeakyReLU or silu",
    "HARD_SWISH": "use relu, LeakyReLU or silu",
    "LOG_SOFTMAX": "use SOFTMAX, or end the model in its logits",
    "LSTM": "use Dense layers over features that carry the history",
    "PRELU": "use relu, or LeakyReLU",
    "PACK": _BATCH,
    "REDUCE_MAX": "use MEAN or SUM",
    "SHAPE": _BATCH,
    "SQUARE": "multiply the tensor by itself (MUL)",
    "STRIDED_SLICE": _BATCH,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "use Dense layers over features that carry the history",
}

_ACTIVATIONS = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file.

    ``type`` is the schema's name (INT8, INT32, ...). ``scales`` (float32) and ``zero_points`` have
    one entry, or one per channel along ``axis``, or none. ``data`` is None for activations.
    """

    index: int
    name: str
    type: str
    shape: tuple[int, ...]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int = 0
    data: NDArray[np.generic] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def scale(self) -> np.float32:
        """The one scale of a per-tensor quantised tensor."""
        return np.float32(self.scales[0])

    @property
    def zero_point(self) -> int:
        """The one zero point of a per-tensor quantised tensor."""
        return int(self.zero_points[0])


class Options(TypedDict, total=False):
    """What an operator's plan needs to know; absent where the file leaves it out."""

    activation: str
    alpha: float
    axis: int
    beta: float
    keep_dims: bool
    weights_format: int


@dataclass(frozen=True)
class TfliteOperator:
    """One operator: schema name, tensor indices (-1: an optional input that is not there)."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options = field(default_factory=lambda: Options())

    @property
    def operands(self) -> tuple[int, ...]:
        """Inputs that hold int8 values to compute with: no weights, shapes or axes."""
        if self.name == "CONCATENATION":
            return self.inputs
        return self.inputs[:2] if self.name in BINARY else self.inputs[:1]


@dataclass(frozen=True)
class TfliteModel:
    """A whole file: tensors by index, operators in the order of execution."""

    source: str
    tensors: tuple[Tensor, ...]
    operators: tuple[TfliteOperator, ...]
    input: int
    output: int

    @property
    def input_tensor(self) -> Tensor:
        """The int8 input."""
        return self.tensors[self.input]

    @property
    def output_tensor(self) -> Tensor:
        """The int8 output."""
        return self.tensors[self.output]


def load(source: str | Path | bytes, name: str | None = None) -> TfliteModel:
    """Reads a ``.tflite`` file (or its bytes).

    Raises ModelError: a file that is damaged, float, or uses what a plan cannot hold. The message
    names operator and tensor, the reason, and the nearest choice that works.
    """
    if isinstance(source, bytes):
        data, label = source, name or "the network"
    else:
        label = name or str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ModelError(
                f"{label}: cannot be read ({error.strerror}); check the path"
            ) from error
    if len(data) < 16 or data[4:8] != b"TFL3":
        raise ModelError(
            f"{label}: not a .tflite file (its identifier TFL3 is missing); give the int8 file "
            "that TFLiteConverter or `tinyfin quantize` wrote"
        )
    try:
        model = _read(data, label)
    except ModelError:
        raise
    except Exception as error:  # the generated flatbuffer classes raise whatever the bytes provoke
        raise ModelError(
            f"{label}: damaged .tflite file ({type(error).__name__} while reading it); convert or "
            "copy it again"
        ) from error
    _check(model)
    return model


def _names(enum: type) -> dict[int, str]:
    return {v: k for k, v in vars(enum).items() if isinstance(v, int) and not k.startswith("_")}


def _read(data: bytes, label: str) -> TfliteModel:
    import tflite

    limit = len(data)

    def count(n: int, what: str) -> int:
        if not 0 <= n <= limit:
            raise ModelError(f"{label}: damaged .tflite file ({what}: {n}); convert it again")
        return n

    root = tflite.Model.GetRootAsModel(data, 0)
    subgraphs = root.SubgraphsLength()
    if subgraphs != 1:
        raise ModelError(
            f"{label}: {subgraphs} subgraphs; a plan holds one: leave out control flow"
        )
    graph = root.Subgraphs(0)
    type_names = _names(tflite.TensorType)
    operator_names = _names(tflite.BuiltinOperator)
    tensors = tuple(
        _tensor(root, graph.Tensors(i), i, type_names, limit)
        for i in range(count(graph.TensorsLength(), "tensors"))
    )

    def tensor_index(i: int, optional: bool = False) -> int:
        if not (0 <= i < len(tensors) or (optional and i == -1)):
            raise ModelError(f"{label}: damaged .tflite file (tensor index {i}); convert it again")
        return i

    operators = []
    for i in range(count(graph.OperatorsLength(), "operators")):
        op = graph.Operators(i)
        code = root.OperatorCodes(op.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        op_name = operator_names.get(number, f"operator {number}")
        if op_name == "CUSTOM":
            custom = code.CustomCode()
            op_name = f"CUSTOM {custom.decode(errors='replace') if custom else ''}".strip()
        inputs = [op.Inputs(k) for k in range(count(op.InputsLength(), "inputs"))]
        outputs = [op.Outputs(k) for k in range(count(op.OutputsLength(), "outputs"))]
        options = _options(op_name, op.BuiltinOptions())
        operators.append(
            TfliteOperator(
                op_name,
                tuple(tensor_index(t, optional=True) for t in inputs),
                tuple(tensor_index(t) for t in outputs),
                options,
            )
        )
    if graph.InputsLength() != 1 or graph.OutputsLength() != 1:
        raise ModelError(
            f"{label}: {graph.InputsLength()} inputs and {graph.OutputsLength()} outputs; a plan "
            "has one of each: concatenate inputs before conversion, keep one output"
        )
    return TfliteModel(
        label,
        tensors,
        tuple(operators),
        tensor_index(graph.Inputs(0)),
        tensor_index(graph.Outputs(0)),
    )


def _options(name: str, table: tflite.Table | None) -> Options:
    """The options a plan needs to know; those that the file leaves out are absent."""
    import tflite

    kinds = {
        "ADD": tflite.AddOptions,
        "CONCATENATION": tflite.ConcatenationOptions,
        "FULLY_CONNECTED": tflite.FullyConnectedOptions,
        "LEAKY_RELU": tflite.LeakyReluOptions,
        "MEAN": tflite.ReducerOptions,
        "MUL": tflite.MulOptions,
        "SOFTMAX": tflite.SoftmaxOptions,
        "SUB": tflite.SubOptions,
        "SUM": tflite.ReducerOptions,
    }
    if table is None or name not in kinds:
        return {}
    kind = kinds[name]()
    kind.Init(table.Bytes, table.Pos)
    if name == "SOFTMAX":
        return {"beta": float(kind.Beta())}
    if name == "LEAKY_RELU":
        return {"alpha": float(kind.Alpha())}
    if name in ("MEAN", "SUM"):
        return {"keep_dims": bool(kind.KeepDims())}
    fused = kind.FusedActivationFunction()
    options: Options = {"activation": _ACTIVATIONS.get(fused, f"activation {fused}")}
    if name == "FULLY_CONNECTED":
        options["weights_format"] = kind.WeightsFormat()
    if name == "CONCATENATION":
        options["axis"] = int(kind.Axis())
    return options


_DTYPES: dict[str, np.dtype[np.integer]] = {"INT8": np.dtype("i1"), "INT32": np.dtype("<i4")}


def _tensor(
    root: tflite.Model, t: tflite.Tensor, index: int, type_names: dict[int, str], limit: int
) -> Tensor:
    type_name = type_names.get(t.Type(), f"type {t.Type()}")
    if not 0 <= t.ShapeLength() <= 8:
        raise ValueError("rank")
    shape = tuple(int(t.Shape(k)) for k in range(t.ShapeLength()))
    if any(not 0 <= d <= limit * 64 for d in shape):
        raise ValueError("shape")
    scales = np.zeros(0, np.float32)
    zero_points = np.zeros(0, np.int64)
    axis = 0
    q = t.Quantization()
    if q is not None and q.ScaleLength() > 0:
        scales = np.array(q.ScaleAsNumpy(), np.float32)
        zero_points = (
            np.array(q.ZeroPointAsNumpy(), np.int64)
            if q.ZeroPointLength() > 0
            else np.zeros(len(scales), np.int64)
        )
        axis = int(q.QuantizedDimension())
    values: NDArray[np.generic] | None = None
    buffer = root.Buffers(t.Buffer())
    if buffer is not None and buffer.DataLength() > 0:
        raw = bytes(buffer.DataAsNumpy())
        dtype = _DTYPES.get(type_name)
        if dtype is None:
            values = np.frombuffer(raw, np.uint8)
        else:
            values = np.frombuffer(raw, dtype).reshape(shape)
    name = (t.Name() or b"").decode(errors="replace")
    return Tensor(index, name, type_name, shape, scales, zero_points, axis, values)


# what the converter puts around an operator that it cannot quantize: the cause is another one
_AROUND = ("QUANTIZE", "DEQUANTIZE")


def _check_operators(model: TfliteModel) -> None:
    unknown = [op for op in model.operators if op.name not in SUPPORTED]
    if not unknown:
        return
    first = next((op for op in unknown if op.name not in _AROUND), unknown[0])
    outs = ", ".join(repr(model.tensors[t].name) for t in first.outputs) or "nothing"
    instead = _INSTEAD.get(first.name, "build the model from " + ", ".join(SUPPORTED))
    if instead == _BATCH or first.name.startswith("GATHER"):
        instead = refused_shape(model) or instead
    raise ModelError(
        f"{model.source}: operator {first.name} (makes {outs}) is not in the plan's operator "
        f"set; {instead}"
    )


def _check(model: TfliteModel) -> None:
    where = model.source
    _check_operators(model)
    if why := refused_shape(model):
        raise ModelError(f"{where}: {why}")
    for op in model.operators:
        if not op.inputs or not op.outputs or min(op.operands) < 0:
            raise ModelError(f"{where}: operator {op.name} lacks input or output; convert it again")
        if op.name in BINARY and len(op.inputs) != 2:
            raise ModelError(f"{where}: operator {op.name} has {len(op.inputs)} inputs, not two")
        for index in (*op.operands, op.outputs[0]):
            used = model.tensors[index]
            constant = op.name in BINARY and index in op.inputs and used.data is not None
            _check_activation(model, f"operator {op.name}", used, constant)
    for t in (model.input, model.output):
        _check_activation(model, "the model's signature", model.tensors[t])
    if not model.operators:
        raise ModelError(f"{where}: holds no operator; give a trained model")
    _check_order(model)


def _check_activation(model: TfliteModel, user: str, t: Tensor, constant: bool = False) -> None:
    at = f"{model.source}: {user}, tensor {t.name!r}"
    if t.type != "INT8":
        raise ModelError(
            f"{at}: type {t.type}; only full int8 models run: convert with a representative "
            "dataset, TFLITE_BUILTINS_INT8, and int8 input and output"
        )
    if len(t.scales) != 1 or len(t.zero_points) != 1:
        raise ModelError(
            f"{at}: {len(t.scales)} scales; activations need one scale and one zero point: convert "
            "with a representative dataset"
        )
    if not (np.isfinite(t.scales[0]) and t.scales[0] > 0):
        raise ModelError(f"{at}: scale {t.scales[0]}; scales are positive: convert it again")
    if not -128 <= t.zero_point <= 127:
        raise ModelError(f"{at}: zero point {t.zero_point} is not an int8: convert it again")
    if t.size < 1 or (len(t.shape) > 1 and t.shape[0] != 1 and not constant):
        raise ModelError(f"{at}: shape {list(t.shape)}; convert with batch size 1")
    if t.size > 65500:
        raise ModelError(f"{at}: {t.size} elements; at most 65500: use a smaller layer")
    if t.data is not None and not constant:
        raise ModelError(f"{at}: is a constant; activations must come from the input")


def _check_order(model: TfliteModel) -> None:
    known = {model.input}
    for op in model.operators:
        sources = [i for i in op.operands if model.tensors[i].data is None]
        if not sources:
            t = model.tensors[op.outputs[0]]
            raise ModelError(
                f"{model.source}: operator {op.name} makes {t.name!r} of constants alone; store "
                "the result as a constant, as the converter does"
            )
        missing = [i for i in sources if i not in known]
        if missing:
            t = model.tensors[missing[0]]
            raise ModelError(
                f"{model.source}: operator {op.name} reads {t.name!r} before anything made it; "
                "convert it again"
            )
        if op.outputs[0] in known:
            t = model.tensors[op.outputs[0]]
            raise ModelError(f"{model.source}: {t.name!r} is written twice; convert it again")
        known.add(op.outputs[0])
    if model.output not in known or model.output == model.input:
        raise ModelError(
            f"{model.source}: no operator makes the output {model.output_tensor.name!r}; "
            "convert it again"
        )
