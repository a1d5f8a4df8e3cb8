# SPDX-License-Identifier: Apache-2.0
"""``codegen --tflm``: the engine with TensorFlow Lite Micro in it answers the twin's bytes.

The interpreter's own wheel checks model, arena and sums; the adapter is compiled and replayed over
an interpreter of these tests (tflm_stub), which has the part of the interface that it uses.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import sample
from tests.support.cli import tinyfin
from tests.support.graph import Graph
from tests.support.native import compiler, tflm
from tests.support.process import call, need
from tinyfin import paths
from tinyfin.codegen import monocypher
from tinyfin.codegen.tflm import FILES, arena_bytes, emit_tflm
from tinyfin.errors import InputError, ModelError
from tinyfin.features.compiler import compile_program
from tinyfin.pack.container import parse_pack
from tinyfin.pack.plan import compile_plan
from tinyfin.pack.readout import Readout
from tinyfin.schema import PAYMENT
from tinyfin.tflite.fixed_point import quantize_multiplier
from tinyfin.tflite.model import load
from tinyfin.twin import Twin

FIRMWARE = paths.firmware_dir()
ENGINE = FIRMWARE / "lib" / "tinyfin"
STUB = Path(__file__).parent / "tflm_stub"
RUN = paths.project_dir() / "models" / "payment"
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tflm") / "generated"
    done = tinyfin("codegen", RUN, "--out", folder, "--with-monocypher", "--tflm")
    assert all(str(folder / name) in done.stdout for name in FILES)
    return folder


def numbers(source: Path, name: str) -> list[int]:
    (body,) = re.findall(rf"{name}\[\d*\][^=]*= \{{(.*?)\}};", source.read_text(), re.DOTALL)
    return [int(word, 0) for word in body.replace(",", " ").split()]


def facts(folder: Path) -> dict[str, int]:
    text = (folder / FILES[0]).read_text()
    found = re.findall(r"#define TINYFIN_TFLM_(\w+) \(?(-?\w+?)u?\)?$", text, re.MULTILINE)
    return {name: int(value, 0) for name, value in found}


def test_the_interpreter_itself_gives_output_and_sums_of_the_engine(generated: Path) -> None:
    """tflite-micro runs the emitted model in the emitted arena: the int8 output is the engine's,
    and the sums made of its second output are what the engine reads the score from."""
    from tflite_micro import runtime

    source, known = generated / FILES[1], facts(generated)
    model = bytes(numbers(source, "tinyfin_tflm_model"))
    weights = np.array(numbers(source, "tinyfin_tflm_weights")).reshape(known["ROWS"], -1)
    bias = np.array(numbers(source, "tinyfin_tflm_bias"))
    pack = (RUN / "model.tfpack").read_bytes()
    readout = parse_pack(pack).readout
    assert readout is not None
    assert readout.kind == "accumulator"
    inputs = np.random.default_rng(1).integers(-128, 128, (200, known["INPUTS"])).astype(np.int8)
    outputs, raw = Twin(pack).infer(inputs)
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=known["ARENA_BYTES"])
    shape = interpreter.get_input_details(0)["shape"]
    for row, output, score in zip(inputs, outputs, raw, strict=True):
        interpreter.set_input(row.reshape(shape), 0)
        interpreter.invoke()
        assert np.array_equal(interpreter.get_output(0).reshape(-1), output)
        hidden = interpreter.get_output(1).reshape(-1).astype(np.int64)
        sums = bias + weights @ (hidden - known["ZERO_POINT"])
        assert sums[readout.index] >> readout.shift == score
    # the second output changes none of the first
    assert np.array_equal(tflm((RUN / "model.tflite").read_bytes(), inputs), outputs)


def layers(tflite: bytes) -> str:
    """The network for the stub, in C."""
    network = load(tflite)
    text = '#include "tensorflow/lite/micro/micro_interpreter.h"\n'
    rows = []
    for at, operator in enumerate(network.operators):
        assert operator.name == "FULLY_CONNECTED"
        x, w, b = (network.tensors[i] for i in operator.inputs)
        y = network.tensors[operator.outputs[0]]
        assert w.data is not None
        assert b.data is not None
        n, k = w.shape
        scales = np.broadcast_to(w.scales, n).astype(np.float64)
        real = [float(x.scale) * s / float(y.scale) for s in scales]
        rescale = [quantize_multiplier(one) for one in real]
        arrays: dict[str, Any] = {
            "w": ("int8_t", w.data.reshape(-1).tolist()),
            "b": ("int32_t", b.data.tolist()),
            "m": ("int32_t", [m for m, _ in rescale]),
            "s": ("int32_t", [s for _, s in rescale]),
        }
        for name, (kind, values) in arrays.items():
            text += f"static const {kind} {name}{at}[] = {{{', '.join(map(str, values))}}};\n"
        low = y.zero_point if operator.options["activation"] == "RELU" else -128
        rows.append(
            f"{{{k}, {n}, {x.zero_point}, {y.zero_point}, {low}, 127, w{at}, b{at}, m{at}, s{at}}}"
        )
    text += f"extern const stub_layer stub_layers[] = {{{', '.join(rows)}}};\n"
    text += f"extern const int stub_layer_count = {len(rows)};\n"
    return text + "extern const int stub_operators = 1;\nextern const int stub_outputs = 2;\n"


@pytest.fixture(scope="module")
def objects(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C of the terminal application and the engine, without a kernel of tinyfin."""
    build = tmp_path_factory.mktemp("objects")
    sources = [*ENGINE.glob("src/*.c"), *ENGINE.glob("src/features/*.c")]
    sources += [*FIRMWARE.glob("src/*.c"), generated / "tinyfin_pack.c"]
    sources += [FIRMWARE / "ports" / "host" / name for name in ("port.c", "no_stack.c")]
    sources.append(generated / "monocypher" / "monocypher.c")
    defines = ['-DTFIN_TARGET="host"', *(f"-D{one}" for one in monocypher.DEFINES)]
    call(compiler(), "-std=c99", "-O1", *defines, *includes(generated), "-c", *sources, cwd=build)
    return build


def includes(generated: Path) -> list[str]:
    folders = generated, FIRMWARE / "src", FIRMWARE / "ports", ENGINE / "include"
    return [f"-I{folder}" for folder in (*folders, generated / "monocypher")]


def terminal(generated: Path, objects: Path, build: Path, *defines: str, crc: str = "") -> Path:
    """The terminal application over adapter and stub; ``crc``: the facts name another plan."""
    need("c++")
    build.mkdir()
    for name in FILES:
        text = (generated / name).read_text()
        (build / name).write_text(re.sub(r"(PLAN_CRC) 0x\w+", rf"\1 {crc}", text) if crc else text)
    (build / "layers.cpp").write_text(layers((RUN / "model.tflite").read_bytes()))
    call(compiler(), "-std=c99", "-c", build / FILES[1], cwd=build)
    strict = ["-std=c++17", "-O1", "-fno-exceptions", "-fno-rtti", *WARNINGS, f"-I{STUB}"]
    cpp = [build / FILES[2], STUB / "interpreter.cpp", build / "layers.cpp"]
    more = [f"-D{one}" for one in defines]
    call("c++", *strict, *more, *includes(generated), "-c", *cpp, cwd=build)
    call("c++", *build.glob("*.o"), *objects.glob("*.o"), "-o", build / "terminal")
    return build / "terminal"


def run_rig(image: Path, folder: Path, *suites: str, code: int = 0) -> str:
    rig = folder / "rig.toml"
    pack = RUN / "model.tfpack"
    target = f'[targets.tflm]\ntarget = "host"\nimage = "{image}"\n'
    rig.write_text(f'[rig]\nrun = "{pack}"\n{target}')
    words = ["hil", "run", "--rig", rig, "--events", "900", "--out", folder]
    more = [word for suite in suites for word in ("--suite", suite)]
    return tinyfin(*words, *more, code=code).stdout


def test_the_engine_over_the_adapter_answers_the_twins_bytes(
    generated: Path, objects: Path, tmp_path: Path
) -> None:
    """Verdicts, features, network output, reasons and state of a replay; self-test included."""
    image = terminal(generated, objects, tmp_path / "good")
    names = call("nm", image).stdout
    assert "tfin_net_run" in names
    assert "tfin_fully_connected" not in names
    said = run_rig(image, tmp_path, "parity", "outcomes")
    for case in ("self-test", "parity", "outcomes"):
        assert re.search(rf"^tflm +{case} +PASSED", said, re.MULTILINE)


def test_what_does_not_fit_is_refused_by_name(
    generated: Path, objects: Path, tmp_path: Path
) -> None:
    """The controls: an interpreter that rounds once, an arena that is too small, another plan."""
    wrong = terminal(generated, objects, tmp_path / "wrong", "TFLM_STUB_ROUNDS_ONCE")
    assert "TFIN_E_GOLDEN" in run_rig(wrong, tmp_path, code=4)
    small = terminal(generated, objects, tmp_path / "small", "TINYFIN_TFLM_ARENA_BYTES=128")
    assert "TFIN_E_MEMORY" in run_rig(small, tmp_path, code=5)
    other = terminal(generated, objects, tmp_path / "other", crc="1u")
    assert "TFIN_E_PLAN" in run_rig(other, tmp_path, code=5)


def single_layer(inputs: int) -> bytes:
    graph = Graph()
    x = graph.tensor("x", [1, inputs], scales=[0.05], zero_points=[-3])
    weights = np.arange(inputs, dtype=np.int8).reshape(1, -1)
    graph.dense(x, weights, np.array([7], np.int32), [0.01], 0.2, 5)
    return graph.build()


@pytest.mark.parametrize("kind", ["logit", "single layer"])
def test_other_read_outs_need_no_second_output(kind: str, tmp_path: Path) -> None:
    """The output is all that is read, or the last layer reads the network's input."""
    need("c++")
    program = compile_program(["amt_log", "amt_dev"], PAYMENT)
    tflite = sample.network(2) if kind == "logit" else single_layer(2)
    plan = compile_plan(load(tflite), accumulators=kind != "logit")
    readout = Readout.logit(0, 5) if kind == "logit" else Readout.accumulator()
    pack = sample.pack_of(PAYMENT, program, tflite, plan=plan, readout=readout)
    emit_tflm(pack, tflite, tmp_path)
    known = facts(tmp_path)
    assert (known["ROWS"], known["COLUMNS"]) == ((0, 0) if kind == "logit" else (1, 2))
    assert known["LAST_INPUT"] == 0
    assert bytes(numbers(tmp_path / FILES[1], "tinyfin_tflm_model")) == tflite
    strict = ["-std=c++11", "-fno-exceptions", "-fno-rtti", *WARNINGS]
    folders = [f"-I{folder}" for folder in (STUB, tmp_path, ENGINE / "include")]
    call("c++", *strict, *folders, "-fsyntax-only", tmp_path / FILES[2])


def test_bad_input(tmp_path: Path) -> None:
    refused = tinyfin("codegen", RUN / "model.tfpack", "--out", tmp_path / "x", "--tflm", code=3)
    assert "--tflm needs the folder of a run with model.tflite" in refused.stderr
    pack = (RUN / "model.tfpack").read_bytes()
    other = (paths.project_dir() / "models" / "payment_host" / "model.tflite").read_bytes()
    with pytest.raises(InputError, match=r"model\.tflite is not the network of the pack"):
        emit_tflm(pack, other, tmp_path)
    with pytest.raises(ModelError, match="TFLM refuses this network"):
        arena_bytes(b"\0" * 64)
