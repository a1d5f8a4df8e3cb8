# SPDX-License-Identifier: Apache-2.0
"""Writes int8 ``.tflite`` files directly, so that tests reach extremes no converter makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

ACTIVATIONS = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
_OPTIONS = {
    "ADD": "AddOptions",
    "CONCATENATION": "ConcatenationOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MEAN": "ReducerOptions",
    "MUL": "MulOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
}


@dataclass
class TensorSpec:
    name: str
    shape: Sequence[int]
    type: int = tflite.TensorType.INT8
    scales: Sequence[float] = ()
    zero_points: Sequence[int] = ()
    data: NDArray[Any] | None = None


@dataclass
class OpSpec:
    name: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    activation: str = "NONE"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """Tensor 0 is the input; the last operator's output is the output."""

    tensors: list[TensorSpec] = field(default_factory=list)
    ops: list[OpSpec] = field(default_factory=list)

    def tensor(self, *args: Any, **kwargs: Any) -> int:
        self.tensors.append(TensorSpec(*args, **kwargs))
        return len(self.tensors) - 1

    def dense(
        self,
        source: int,
        weights: NDArray[np.int8],
        bias: NDArray[np.int32] | None,
        weight_scales: Sequence[float],
        out_scale: float,
        out_zero: int,
        activation: str = "NONE",
    ) -> int:
        n = len(weights)
        k = len(self.tensors)
        w = self.tensor(
            f"w{k}",
            weights.shape,
            scales=weight_scales,
            zero_points=[0] * len(weight_scales),
            data=weights,
        )
        inputs = [source, w, -1]
        if bias is not None:
            si = np.float32(self.tensors[source].scales[0])
            scales = [float(si * np.float32(s)) for s in weight_scales]
            inputs[2] = self.tensor(
                f"b{k}",
                [n],
                type=tflite.TensorType.INT32,
                scales=scales,
                zero_points=[0] * len(scales),
                data=bias.astype(np.int32),
            )
        out = self.tensor(f"y{k}", [1, n], scales=[out_scale], zero_points=[out_zero])
        self.ops.append(OpSpec("FULLY_CONNECTED", inputs, [out], activation))
        return out

    def unary(self, name: str, source: int, out_scale: float, out_zero: int) -> int:
        shape = self.tensors[source].shape
        out = self.tensor(
            f"{name.lower()}{len(self.tensors)}", shape, scales=[out_scale], zero_points=[out_zero]
        )
        self.ops.append(OpSpec(name, [source], [out]))
        return out

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        out_scale: float,
        out_zero: int,
        activation: str = "NONE",
        **options: Any,
    ) -> int:
        """An operator of several inputs or with options: beta, axis, keep_dims."""
        out = self.tensor(
            f"{name.lower()}{len(self.tensors)}", shape, scales=[out_scale], zero_points=[out_zero]
        )
        self.ops.append(OpSpec(name, inputs, [out], activation, options))
        return out

    def constant(self, values: NDArray[np.int8], scale: float, zero: int) -> int:
        return self.tensor(
            f"c{len(self.tensors)}", values.shape, scales=[scale], zero_points=[zero], data=values
        )

    def axes(self, values: Sequence[int]) -> int:
        return self.tensor(
            f"axes{len(self.tensors)}",
            [len(values)],
            type=tflite.TensorType.INT32,
            data=np.array(values, np.int32),
        )

    def reshape(self, source: int, shape: Sequence[int]) -> int:
        old = self.tensors[source]
        to = self.tensor(
            f"s{len(self.tensors)}",
            [len(shape)],
            type=tflite.TensorType.INT32,
            data=np.array(shape, np.int32),
        )
        out = self.tensor(
            f"r{len(self.tensors)}", shape, scales=old.scales, zero_points=old.zero_points
        )
        self.ops.append(OpSpec("RESHAPE", [source, to], [out]))
        return out

    def build(self) -> bytes:
        b = flatbuffers.Builder(1 << 16)
        buffers = [self._buffer(b, None)]
        tensors = []
        for t in self.tensors:
            if t.data is None:
                number = 0
            else:
                number = len(buffers)
                buffers.append(self._buffer(b, np.ascontiguousarray(t.data)))
            tensors.append(self._tensor(b, t, number))
        names = sorted({op.name for op in self.ops})
        codes = []
        for name in names:
            tflite.OperatorCodeStart(b)
            number = getattr(tflite.BuiltinOperator, name)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(number, 127))
            tflite.OperatorCodeAddVersion(b, 4 if name == "FULLY_CONNECTED" else 1)
            tflite.OperatorCodeAddBuiltinCode(b, number)
            codes.append(tflite.OperatorCodeEnd(b))
        ops = [self._operator(b, op, names) for op in self.ops]
        subgraph_tensors = _offsets(b, tensors)
        subgraph_ops = _offsets(b, ops)
        inputs = _ints(b, [0])
        outputs = _ints(b, [self.ops[-1].outputs[0]])
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, subgraph_tensors)
        tflite.SubGraphAddInputs(b, inputs)
        tflite.SubGraphAddOutputs(b, outputs)
        tflite.SubGraphAddOperators(b, subgraph_ops)
        subgraphs = _offsets(b, [tflite.SubGraphEnd(b)])
        code_vector = _offsets(b, codes)
        buffer_vector = _offsets(b, buffers)
        description = b.CreateString("test")
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, code_vector)
        tflite.ModelAddSubgraphs(b, subgraphs)
        tflite.ModelAddDescription(b, description)
        tflite.ModelAddBuffers(b, buffer_vector)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())

    @staticmethod
    def _buffer(b: Any, data: NDArray[Any] | None) -> int:
        vector = None
        if data is not None:
            raw = data.tobytes()
            b.StartVector(1, len(raw), 16)
            b.head -= len(raw)
            b.Bytes[b.head : b.head + len(raw)] = raw
            vector = b.EndVector()
        tflite.BufferStart(b)
        if vector is not None:
            tflite.BufferAddData(b, vector)
        return int(tflite.BufferEnd(b))

    @staticmethod
    def _tensor(b: Any, t: TensorSpec, buffer: int) -> int:
        name = b.CreateString(t.name)
        shape = _ints(b, t.shape)
        quantization = None
        if len(t.scales):
            scales = b.CreateNumpyVector(np.array(t.scales, np.float32))
            zeros = b.CreateNumpyVector(np.array(t.zero_points, np.int64))
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, scales)
            tflite.QuantizationParametersAddZeroPoint(b, zeros)
            quantization = tflite.QuantizationParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, t.type)
        tflite.TensorAddBuffer(b, buffer)
        tflite.TensorAddName(b, name)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        return int(tflite.TensorEnd(b))

    @staticmethod
    def _operator(b: Any, op: OpSpec, names: Sequence[str]) -> int:
        inputs, outputs = _ints(b, op.inputs), _ints(b, op.outputs)
        kind = _OPTIONS.get(op.name)
        options = None
        if kind is not None:
            getattr(tflite, f"{kind}Start")(b)
            if kind not in ("SoftmaxOptions", "ReducerOptions", "LeakyReluOptions"):
                fused = ACTIVATIONS[op.activation]
                getattr(tflite, f"{kind}AddFusedActivationFunction")(b, fused)
            for key, value in op.options.items():
                getattr(tflite, f"{kind}Add{key.title().replace('_', '')}")(b, value)
            options = getattr(tflite, f"{kind}End")(b)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, names.index(op.name))
        tflite.OperatorAddInputs(b, inputs)
        tflite.OperatorAddOutputs(b, outputs)
        if options is not None:
            tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, str(kind)))
            tflite.OperatorAddBuiltinOptions(b, options)
        return int(tflite.OperatorEnd(b))


def _ints(b: Any, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.array(values, np.int32)))


def _offsets(b: Any, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())
