# SPDX-License-Identifier: Apache-2.0
"""Networks in ONNX: dense layers as PyTorch's two exporters and skl2onnx write them.

Every value has one vector per row. What is not known to be one is refused by its node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tinyfin.errors import ModelError
from tinyfin.optional_packages import require
from tinyfin.quantization.own_models import first_line
from tinyfin.quantization.own_models.layers import Layers
from tinyfin.quantization.own_models.onnx_operators import OPERATORS, Constant, Value, Values, Work

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

__all__ = ["read_onnx"]

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_INSTEAD = {
    name: instead
    for instead, names in {
        "use dense layers over the flattened window": ["Conv"],
        "export the float network: tinyfin quantizes it": ["DequantizeLinear", "QuantizeLinear"],
        "use ReLU, LeakyReLU, tanh, sigmoid or SiLU": [
            *("Elu", "Erf", "Gelu", "HardSwish", "PRelu", "Softplus")
        ],
        "use dense layers over features that carry the history": ["GRU", "LSTM", "RNN"],
        "leave inputs that the network does not use out of the run's features": ["Gather", "Slice"],
        "use BatchNorm1d": ["LayerNormalization"],
        "use Softmax, or end the network in one logit": ["LogSoftmax"],
        "give the estimator itself, saved with skops.io.dump": [
            *("LinearClassifier", "TreeEnsembleClassifier", "TreeEnsembleRegressor")
        ],
    }.items()
    for name in names
}


def read_onnx(data: bytes, where: str, *, factor: float = 1.0) -> Layers:
    """The network of an ONNX file, its inputs multiplied by ``factor`` first. Raises ModelError;
    ToolError without the package ``onnx``."""
    require(["onnx"], "to read .onnx")
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's, of several kinds
        raise ModelError(
            f"{where}: is no ONNX file ({first_line(error)}); export it again"
        ) from error
    return _Reading(model, where, factor).layers()


class _Reading:
    """One file on its way to layers."""

    def __init__(self, model: ModelProto, where: str, factor: float) -> None:
        self._where = where
        self._graph = model.graph
        versions = [x.version for x in model.opset_import if x.domain in _DOMAINS[:2]]
        self._opset = max(versions, default=1)
        self._factor = factor

    def layers(self) -> Layers:
        graph, where = self._graph, self._where
        if not graph.node:
            raise ModelError(f"{where}: holds no ONNX graph; export the network again")
        output = self._output()
        values = self._constants(graph.initializer)
        name, batch, width = self._input(values)
        try:
            layers = Layers(width, self._factor)
        except ModelError as error:
            raise ModelError(f"{where}: input {name!r}: {error}") from None
        values[name] = Value(layers.input)
        work = Work(layers, self._opset, batch)
        needed = _needed(graph, output)
        for node in graph.node:
            if needed.isdisjoint(node.output):
                continue
            self._run(work, node, values)
        found = values.get(output)
        if not isinstance(found, Value):
            raise ModelError(f"{where}: no node makes the output {output!r} of the input")
        layers.output = found.at
        return layers

    def _run(self, work: Work, node: NodeProto, values: Values) -> None:
        at = f"{self._where}: node {node.name or '-'!r}, {node.op_type}"
        operator = OPERATORS.get(node.op_type) if node.domain in _DOMAINS else None
        if operator is None:
            kind = f"{node.domain}.{node.op_type}" if node.domain not in _DOMAINS else node.op_type
            instead = _INSTEAD.get(node.op_type, f"known are {', '.join(sorted(OPERATORS))}")
            raise ModelError(f"{at}: no terminal runs {kind}; {instead}")
        unknown = [name for name in node.input if name and name not in values]
        if unknown or not node.output:
            raise ModelError(
                f"{at}: reads {unknown!r}, which nothing before it makes; export it again"
            )
        given = [values[name] if name else None for name in node.input]
        try:
            made = operator(work, given, self._attributes(node, at))
        except ModelError as error:
            raise ModelError(f"{at}: {error}") from None
        except Exception as error:  # numpy's, of constants that do not fit together
            raise ModelError(f"{at}: {first_line(error)}; export it again") from error
        if node.output[0] in values:
            raise ModelError(f"{at}: writes {node.output[0]!r}, which is there; export it again")
        values[node.output[0]] = made

    def _attributes(self, node: NodeProto, at: str) -> Mapping[str, object]:
        from onnx import AttributeProto, helper

        found: dict[str, object] = {}
        for attribute in node.attribute:
            if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
                raise ModelError(f"{at}: holds a graph; export the network without control flow")
            if attribute.type == AttributeProto.TENSOR:
                found[attribute.name] = self._tensor(attribute.t, at)
                continue
            try:
                found[attribute.name] = helper.get_attribute_value(attribute)
            except ValueError as error:
                raise ModelError(
                    f"{at}: attribute {attribute.name!r}: {first_line(error)}"
                ) from error
        return found

    def _constants(self, tensors: Iterable[TensorProto]) -> Values:
        return {x.name: self._tensor(x, f"{self._where}: constant {x.name!r}") for x in tensors}

    def _tensor(self, tensor: TensorProto, at: str) -> Constant:
        from onnx import TensorProto, numpy_helper

        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ModelError(
                f"{at}: its values are in another file; export into one file: "
                "torch.onnx.export(..., external_data=False), or onnx.save(onnx.load(FILE), FILE)"
            )
        try:
            return Constant(numpy_helper.to_array(tensor))
        except Exception as error:  # onnx's and numpy's: damaged, or a type that numpy has not
            raise ModelError(
                f"{at}: cannot be read ({first_line(error)}); export it again"
            ) from error

    def _input(self, constants: Values) -> tuple[str, int | None, int]:
        """Name, rows where they are fixed, and width of the one input."""
        found = [x for x in self._graph.input if x.name not in constants]
        if len(found) != 1:
            raise ModelError(
                f"{self._where}: {len(found)} inputs "
                f"({', '.join(x.name for x in found[:9])}); export a network that takes the run's "
                "features as one tensor"
            )
        dims = found[0].type.tensor_type.shape.dim
        shape = [d.dim_value if d.HasField("dim_value") else None for d in dims]
        if len(shape) != 2 or not shape[1]:
            shown = ", ".join("?" if d is None else str(d) for d in shape)
            raise ModelError(
                f"{self._where}: input {found[0].name!r} has shape ({shown}); rows of features "
                "are needed, (rows, inputs) with the number of inputs fixed"
            )
        return found[0].name, shape[0], shape[1]

    def _output(self) -> str:
        """The one output that is no label; behind a ZipMap of the classes 0 and 1."""
        from onnx import TensorProto

        whole = (TensorProto.INT64, TensorProto.INT32, TensorProto.STRING, TensorProto.BOOL)
        kept = [x for x in self._graph.output if x.type.tensor_type.elem_type not in whole]
        if len(kept) != 1:
            raise ModelError(
                f"{self._where}: {len(kept)} outputs "
                f"({', '.join(x.name for x in kept[:9])}); keep one, the score"
            )
        name = str(kept[0].name)
        maker = next((x for x in self._graph.node if name in x.output), None)
        if maker is None or maker.op_type != "ZipMap" or len(maker.input) != 1:
            return name
        classes = self._attributes(maker, self._where).get("classlabels_int64s")
        if classes != [0, 1]:
            raise ModelError(
                f"{self._where}: node {maker.name!r}, ZipMap: classes {classes}; train with the "
                "labels 0, genuine, and 1, fraud"
            )
        return str(maker.input[0])


def _needed(graph: GraphProto, output: str) -> set[str]:
    """Names of the values that the output comes from."""
    makers = {name: node for node in graph.node for name in node.output}
    needed: set[str] = set()
    todo = [output]
    while todo:
        name = todo.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in makers:
            todo += [x for x in makers[name].input if x]
    return needed
