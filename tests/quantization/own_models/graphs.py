# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs as exporters write them: node for node what ``torch.onnx.export`` of PyTorch 2.14.1
gives, without and with ``dynamo=True``, and skl2onnx 1.20.0."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Floats = NDArray[np.floating]


class Graph:
    """Nodes and constants of a graph with one input ``x``."""

    def __init__(self, seed: int = 1, opset: int = 20) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, values: object, dtype: str = "f4") -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weights(self, name: str, *shape: int) -> str:
        return self.constant(name, self.rng.normal(0, 0.5, shape))

    def node(
        self, kind: str, inputs: Sequence[str], out: str, domain: str = "", **of: object
    ) -> str:
        made = helper.make_node(kind, list(inputs), [out], name=f"/{out}", domain=domain, **of)
        self.nodes.append(made)
        return out

    def gemm(self, x: str, out: str, width: int, wide: int) -> str:
        b, c = self.weights(f"{out}.weight", wide, width), self.weights(f"{out}.bias", wide)
        return self.node("Gemm", [x, b, c], out, alpha=1.0, beta=1.0, transB=1)

    def model(
        self,
        width: int,
        *outputs: tuple[str, int],
        rows: int | str = "batch",
        zipped: str = "",
        ir: int = 9,
    ) -> ModelProto:
        """Outputs by name and type; ``zipped`` is one of ZipMap."""
        made = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
        if zipped:
            key = helper.make_map_type_proto(
                TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
            )
            made.append(helper.make_value_info(zipped, helper.make_sequence_type_proto(key)))
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, width])],
            made,
            self.constants,
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("ai.onnx.ml", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


SCORE = ("y", TensorProto.FLOAT)


def plain(width: int) -> ModelProto:
    """Linear, ReLU, Linear, Hardtanh, Linear: the exporter without dynamo."""
    g = Graph()
    h = g.node("Relu", [g.gemm("x", "0", width, 9)], "1")
    ends = [
        g.node("Constant", [], name, value=numpy_helper.from_array(np.array(v, "f4")))
        for name, v in (("low", -1.0), ("high", 1.0))
    ]
    h = g.node("Clip", [g.gemm(h, "2", 9, 6), *ends], "3")
    g.gemm(h, "y", 6, 1)
    return g.model(width, SCORE, rows=1)


def residual(width: int, dynamo: bool = False) -> ModelProto:
    """Standardized inputs, BatchNorm1d, SiLU, a residual, a branch, a sigmoid and squeeze(-1)."""
    g = Graph(seed=2)
    mean, std = g.weights("mean", width), g.constant("std", g.rng.uniform(0.5, 1.5, width))
    x = g.node("Div", [g.node("Sub", ["x", mean], "sub"), std], "div")
    h = g.gemm(x, "a", width, 8)
    if not dynamo:  # dynamo has folded it into the Gemm
        g.constant("running", g.rng.uniform(0.5, 1.5, 8))
        variance = g.node("Identity", ["running"], "variance")
        scale = [g.weights(f"bn{k}", 8) for k in range(3)]
        h = g.node("BatchNormalization", [h, *scale, variance], "bn", epsilon=1e-5, momentum=0.9)
    h = g.node("Relu", [h], "relu")
    b = g.gemm(h, "b", 8, 8)
    silu = g.node("Mul", [b, g.node("Sigmoid", [b], "gate")], "silu")
    s = g.node("LeakyRelu", [g.node("Add", [silu, h], "add")], "leaky", alpha=0.1)
    ends = [g.constant("low", -1.0), g.constant("high", 1.0)]
    parts = [
        g.node("Clip", [s, *ends], "clamp"),
        g.node("Mul", [g.node("Tanh", [h], "tanh"), h], "mul"),
    ]
    z = g.gemm(g.node("Concat", parts, "cat", axis=1), "c", 16, 1)
    p = g.node("Sigmoid", [z], "sigmoid")
    g.node("Squeeze", [p, g.constant("axes", [1], "i8")], "y")
    return g.model(width, SCORE, ir=10 if dynamo else 9)


def two_classes(width: int) -> ModelProto:
    """Flatten, Linear without bias, ReLU6, Linear, Softmax."""
    g = Graph(seed=3)
    h = g.node("Flatten", ["x"], "flat", axis=1)
    h = g.node("MatMul", [h, g.weights("w", width, 6)], "matmul")
    h = g.node("Clip", [h, g.constant("low", 0.0), g.constant("high", 6.0)], "relu6")
    g.node("Softmax", [g.gemm(h, "z", 6, 2)], "y", axis=1)
    return g.model(width, SCORE, rows=1)


def skl2onnx(width: int, zipmap: bool = True, classes: Sequence[int] = (0, 1)) -> ModelProto:
    """MLPClassifier behind a StandardScaler, with its labels and its ZipMap."""
    g = Graph(seed=4, opset=14)
    offset, scale = g.rng.normal(size=width).tolist(), g.rng.uniform(0.5, 2, width).tolist()
    x = g.node("Scaler", ["x"], "scaled", "ai.onnx.ml", offset=offset, scale=scale)
    x = g.node("Cast", [x], "cast", to=1)
    for k, (inner, wide) in enumerate(((width, 7), (7, 1))):
        x = g.node("MatMul", [x, g.weights(f"coefficient{k}", inner, wide)], f"mul{k}")
        x = g.node("Add", [x, g.weights(f"intercepts{k}", 1, wide)], f"add{k}")
        x = g.node("Relu" if k == 0 else "Sigmoid", [x], f"activation{k}")
    no = g.node("Sub", [g.constant("unity", 1.0), x], "negative")
    out = "probabilities" if zipmap else "y"
    g.node("Concat", [no, x], out, axis=1)
    best = g.node("ArgMax", [out], "best", axis=1)
    known = g.constant("classes", list(classes), "i8")
    label = g.node("ArrayFeatureExtractor", [known, best], "extracted", "ai.onnx.ml")
    g.node("Reshape", [label, g.constant("shape", [-1], "i8")], "label")
    if zipmap:
        g.node("ZipMap", [out], "y", "ai.onnx.ml", classlabels_int64s=list(classes))
        return g.model(width, ("label", TensorProto.INT64), zipped="y", ir=7)
    return g.model(width, ("label", TensorProto.INT64), SCORE, ir=7)


EXPORTS: dict[str, Callable[[int], ModelProto]] = {
    "plain": plain,
    "residual": residual,
    "residual, dynamo": lambda width: residual(width, dynamo=True),
    "two classes": two_classes,
    "skl2onnx": skl2onnx,
    "skl2onnx without ZipMap": lambda width: skl2onnx(width, zipmap=False),
}
