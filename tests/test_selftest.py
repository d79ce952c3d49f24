"""A model proves itself on this machine before it answers; a sabotaged one never does."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import POINT, make_contract
from tiny_models import tiny_model, tiny_score

import cxr_edge
from cxr_edge.cli.app import run
from cxr_edge.contract import METADATA_KEY, Contract, from_json, to_json
from cxr_edge.decode import decode
from cxr_edge.engine import Engine
from cxr_edge.modelfile import packaged_models, read_model
from cxr_edge.processors import cpu_flags
from cxr_edge.qualification import golden, qualify, record
from cxr_edge.qualification.fingerprint import fingerprint
from cxr_edge.qualification.golden import Check
from cxr_edge.selftest import qualify_installation

GRAY = np.full((224, 224), 140, np.uint8)
VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing has been tested yet."""
    folder = tmp_path / "state"
    monkeypatch.setenv(record.STATE_VARIABLE, str(folder))
    return folder


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models whose golden cases were replayed."""
    seen: list[str] = []
    real = golden.replay

    def counted(network: Any, contract: Contract) -> Any:
        seen.append(contract.identity.name)
        return real(network, contract)

    monkeypatch.setattr(qualify, "replay", counted)
    return seen


def sabotage(path: Path, target: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a model with its protobuf changed."""
    onnx = pytest.importorskip("onnx", reason="needs the workbench: pip install ./export")
    model = onnx.load(path)
    change(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(model.SerializeToString())
    return target


def rewrite(**changes: Any) -> Callable[[Any], None]:
    """Another contract in the metadata."""

    def change(model: Any) -> None:
        (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
        entry.value = to_json(replace(from_json(entry.value), **changes))

    return change


def double_the_weights(model: Any) -> None:
    """8-bit instead of 7-bit weights at half the scale: the same numbers, unless sums of two products saturate."""
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            weights = numpy_helper.to_array(tensors[node.input[0]])
            if weights.dtype == np.int8 and np.abs(weights).max() <= 64:
                for name, values in ((node.input[0], weights), (node.input[1], None)):
                    old = numpy_helper.to_array(tensors[name])
                    new = np.clip(values.astype(np.int16) * 2, -127, 127) if values is not None else old / 2
                    tensors[name].CopyFrom(numpy_helper.from_array(new.astype(old.dtype), name))


def scramble_a_layer(model: Any) -> None:
    """One layer's weights in another order."""
    from onnx import numpy_helper

    tensor = max(model.graph.initializer, key=lambda candidate: len(candidate.raw_data))
    values = numpy_helper.to_array(tensor)
    shuffled = np.random.default_rng(1).permutation(values.ravel()).reshape(values.shape)
    tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))


def test_the_first_start_tests_and_later_ones_remember(tmp_path: Path, state: Path, replays: list[str]) -> None:
    model = tiny_model(tmp_path)
    cxr_edge.load(model, provider="cpu")
    (kept,) = (state / "selftest").iterdir()
    assert json.loads(kept.read_text(encoding="utf-8"))["passed"] is True
    assert cxr_edge.load(model, provider="cpu").classify(GRAY).score == pytest.approx(tiny_score(GRAY), abs=1e-5)
    assert replays == ["test-model"]


@pytest.mark.parametrize("what", ["cpu_flags", "onnxruntime", "pillow", "execution_provider", "model_sha256"])
def test_another_machine_or_library_is_tested_again(
    tmp_path: Path, state: Path, replays: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    del state
    model = tiny_model(tmp_path)
    cxr_edge.load(model)
    monkeypatch.setattr(qualify, "fingerprint", lambda *args: {**fingerprint(*args), what: "another"})
    cxr_edge.load(model)
    cxr_edge.load(model)
    assert len(replays) == 2


def test_on_a_gpu_every_start_tests(tmp_path: Path, state: Path, replays: list[str]) -> None:
    """Its driver may have changed, which the fingerprint does not know."""
    file = read_model(tiny_model(tmp_path))
    for _ in range(2):
        engine = Engine(file.content, provider="cpu")
        engine.execution_provider = "CUDAExecutionProvider"
        qualify.qualified(qualify.open_model(file, engine))
    assert len(replays) == 2
    assert not state.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"passed": true, "fingerprint": {}}', "[" * 60_000, " " * 70_000])
def test_a_damaged_record_is_not_believed(tmp_path: Path, state: Path, replays: list[str], content: str) -> None:
    model = tiny_model(tmp_path)
    cxr_edge.load(model)
    (kept,) = (state / "selftest").iterdir()
    kept.write_text(content, encoding="utf-8")
    cxr_edge.load(model)
    assert len(replays) == 2


def test_a_record_of_a_failure_is_no_pass(tmp_path: Path, state: Path, replays: list[str]) -> None:
    model = tiny_model(tmp_path)
    cxr_edge.load(model)
    (kept,) = (state / "selftest").iterdir()
    kept.write_text(kept.read_text(encoding="utf-8").replace("true", "false"), encoding="utf-8")
    cxr_edge.load(model)
    assert len(replays) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_records_place_is_not_read(tmp_path: Path, state: Path, replays: list[str]) -> None:
    model = tiny_model(tmp_path)
    cxr_edge.load(model)
    (kept,) = (state / "selftest").iterdir()
    kept.unlink()
    os.mkfifo(kept)
    cxr_edge.load(model)
    assert len(replays) == 2


def test_where_nothing_can_be_remembered_every_start_tests(
    tmp_path: Path, replays: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("", encoding="utf-8")
    monkeypatch.setenv(record.STATE_VARIABLE, str(tmp_path / "a file" / "state"))
    model = tiny_model(tmp_path)
    cxr_edge.load(model)
    cxr_edge.load(model)
    assert len(replays) == 2


def test_wrong_outputs_are_refused_by_name_and_not_remembered(tmp_path: Path, state: Path, replays: list[str]) -> None:
    model = sabotage(tiny_model(tmp_path), tmp_path / "bad" / "tiny.onnx", scramble_kernel_sign)
    for _ in range(2):
        with pytest.raises(cxr_edge.ModelError, match=r"self-test .* failed .* output of golden case ramp.* differ by"):
            cxr_edge.load(model)
    assert len(replays) == 2
    assert not state.exists()


def scramble_kernel_sign(model: Any) -> None:
    from onnx import numpy_helper

    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    kernel.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(kernel), "kernel"))


def test_another_resize_is_refused_by_the_input_tensor(tmp_path: Path, state: Path) -> None:
    del state
    contract = make_contract()
    member = contract.members[0]
    crop = replace(member, normalization=member.normalization, resize=replace(member.resize, aspect="crop"))
    path = tiny_model(tmp_path, replace(contract, members=(crop,)))
    cxr_edge.load(path)  # a square golden image does not show it ...
    smaller = sabotage(path, tmp_path / "bad" / "tiny.onnx", rewrite(golden=_golden_of_a_wide_image()))
    with pytest.raises(cxr_edge.ModelError, match="input tensor of golden case wide: differ"):
        cxr_edge.load(smaller)  # ... a wide one does


def _golden_of_a_wide_image() -> Any:
    import base64
    import hashlib
    import io

    from PIL import Image

    from cxr_edge.contract import Golden, GoldenCase
    from cxr_edge.preprocess import preprocess

    gray = np.tile(np.linspace(0, 255, 400).astype(np.uint8), (200, 1))
    png = io.BytesIO()
    Image.fromarray(gray).save(png, "PNG")
    squashed = preprocess(gray, make_contract().members[0])  # as trained; the contract was altered to crop
    case = GoldenCase(
        name="wide",
        png=base64.b64encode(png.getvalue()).decode(),
        tensor_sha256=(hashlib.sha256(squashed.tobytes()).hexdigest(),),
        reference=(0.5, 0.5),
        exported=(0.5, 0.5),
    )
    return Golden(tolerance=0.1, cases=(case,))


@pytest.fixture(scope="module")
def released() -> Path:
    return packaged_models()["resnet50-binary"]


def test_scrambled_weights_of_the_released_model_are_refused(released: Path, tmp_path: Path, state: Path) -> None:
    del state
    with pytest.raises(cxr_edge.ModelError, match="output of golden case"):
        cxr_edge.load(sabotage(released, tmp_path / "model.onnx", scramble_a_layer), provider="cpu")


def test_a_changed_file_beside_its_digest_is_refused(released: Path, tmp_path: Path, state: Path) -> None:
    del state
    path = sabotage(released, tmp_path / "model.onnx", rewrite(default_operating_point="screening"))
    (tmp_path / "SHA256SUMS").write_bytes(released.with_name("SHA256SUMS").read_bytes())
    with pytest.raises(cxr_edge.ModelError, match="SHA-256"):
        cxr_edge.load(path, provider="cpu")


@pytest.mark.skipif(bool(VNNI & set(cpu_flags())), reason="this CPU adds 8-bit products without saturating")
@pytest.mark.skipif("avx2" not in cpu_flags(), reason="no CPU of which it is known that it saturates")
def test_a_saturating_graph_is_refused(released: Path, tmp_path: Path, state: Path) -> None:
    del state
    path = sabotage(released, tmp_path / "model.onnx", double_the_weights)
    with pytest.raises(cxr_edge.ModelError, match=r"output of golden case .* differ by .*; no float model"):
        cxr_edge.load(path, provider="cpu")


def quantized(path: Path, target: Path, change: Callable[[Any], None] = lambda _: None) -> Path:
    """A tiny model whose contract says INT8, so that a float model may stand in for it."""

    def both(model: Any) -> None:
        scheme = replace(make_contract().quantization, scheme="int8-u8s8-qdq", ranges="minmax", images=1)
        rewrite(quantization=scheme)(model)
        change(model)

    return sabotage(path, target, both)


def test_the_float_model_stands_in_and_every_result_says_so(tmp_path: Path, state: Path) -> None:
    del state
    good = tiny_model(tmp_path)
    bad = quantized(good, tmp_path / "site" / "model.onnx", scramble_kernel_sign)
    bad.with_name("model-float.onnx").write_bytes(good.read_bytes())
    classifier = cxr_edge.load(bad, provider="cpu")
    assert classifier.notices[0].code == "float_fallback"
    assert "output of golden case ramp" in classifier.notices[0].message
    prediction = classifier.classify(GRAY)
    assert prediction.score == pytest.approx(tiny_score(GRAY), abs=1e-5)
    assert [note.code for note in prediction.warnings] == ["float_fallback"]
    assert prediction.model.sha256 == cxr_edge.load(good).model.sha256


def test_another_model_does_not_stand_in(tmp_path: Path, state: Path) -> None:
    del state
    good = tiny_model(tmp_path)
    bad = quantized(good, tmp_path / "site" / "model.onnx", scramble_kernel_sign)
    other = replace(make_contract().identity, name="another-model")
    sabotage(good, bad.with_name("model-float.onnx"), rewrite(identity=other))
    with pytest.raises(cxr_edge.ModelError, match="another-model"):
        cxr_edge.load(bad, provider="cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {
            "operating_points": (
                replace(POINT, threshold=0.9, how_chosen="fixed at 0.9"),
                *make_contract().operating_points[1:],
            )
        },
        {"default_operating_point": make_contract().operating_points[1].name},
        {"outputs": replace(make_contract().outputs, temperature=3.0)},
    ],
    ids=["threshold", "default", "temperature"],
)
def test_a_float_model_that_decides_by_other_rules_does_not_stand_in(
    tmp_path: Path, state: Path, changes: dict[str, Any]
) -> None:
    del state
    good = tiny_model(tmp_path)
    bad = quantized(good, tmp_path / "site" / "model.onnx", scramble_kernel_sign)
    sabotage(good, bad.with_name("model-float.onnx"), rewrite(**changes))
    with pytest.raises(cxr_edge.ModelError, match="decides by other rules"):
        cxr_edge.load(bad, provider="cpu")


def test_an_int8_file_does_not_stand_in_as_float(tmp_path: Path, state: Path) -> None:
    del state
    good = tiny_model(tmp_path)
    bad = quantized(good, tmp_path / "site" / "model.onnx", scramble_kernel_sign)
    quantized(good, bad.with_name("model-float.onnx"))
    with pytest.raises(cxr_edge.ModelError, match="is not the float form"):
        cxr_edge.load(bad, provider="cpu")


def test_a_broken_float_model_does_not_hide_what_failed_first(tmp_path: Path, state: Path) -> None:
    del state
    bad = quantized(tiny_model(tmp_path), tmp_path / "site" / "model.onnx", scramble_kernel_sign)
    bad.with_name("model-float.onnx").write_bytes(b"no model")
    with pytest.raises(cxr_edge.ModelError, match=r"output of golden case ramp.*model-float.onnx.* cannot"):
        cxr_edge.load(bad, provider="cpu")


def test_a_float_model_that_fails_too(tmp_path: Path, state: Path) -> None:
    del state
    good = tiny_model(tmp_path)
    bad = quantized(good, tmp_path / "site" / "model.onnx", scramble_kernel_sign)
    sabotage(good, bad.with_name("model-float.onnx"), scramble_kernel_sign)
    with pytest.raises(cxr_edge.ModelError, match="cannot be used instead: output of golden case"):
        cxr_edge.load(bad, provider="cpu")


def test_the_command_prints_a_record(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "iq.json"
    assert run(["selftest", "--provider", "cpu", "--report", str(target)]) == 0
    shown = capsys.readouterr().out
    assert "PASSED" in shown
    assert "Not a medical device" in shown
    assert "CPUExecutionProvider" in shown
    kept = json.loads(target.read_text(encoding="utf-8"))
    assert kept["passed"] is True
    assert len(kept["checks"]) > 25
    assert kept["machine"]["onnxruntime"]
    assert len(list((state / "selftest").iterdir())) == 1
    assert run(["selftest", "--report", str(target)]) == 6  # never over an existing record
    assert run(["selftest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["name"] == "resnet50-binary"


def test_the_command_fails_with_5_and_names_the_check(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = sabotage(tiny_model(tmp_path), tmp_path / "bad" / "tiny.onnx", scramble_kernel_sign)
    assert run(["selftest", "--model", str(model)]) == 5
    shown = capsys.readouterr().out
    assert re.search("^  FAIL +output of golden case ramp", shown, re.MULTILINE)
    assert "FAILED: 1 of" in shown
    assert not state.exists()


def test_a_file_without_a_released_digest_neither_fails_nor_passes(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del state
    model, target = tiny_model(tmp_path), tmp_path / "iq.json"
    assert run(["selftest", "--model", str(model), "--report", str(target)]) == 0
    shown = capsys.readouterr().out
    assert re.search("^  unpinned  SHA-256 of the model file: not vouched for", shown, re.MULTILINE)
    assert "PASSED" in shown
    kept = json.loads(target.read_text(encoding="utf-8"))
    assert kept["passed"] is True
    checks = {check["name"]: (check["outcome"], check["passed"]) for check in kept["checks"]}
    assert checks.pop("SHA-256 of the model file") == ("unpinned", None)
    assert set(checks.values()) == {("pass", True)}


def test_a_missing_or_wrong_decoder_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_edge.selftest import codecs

    monkeypatch.setattr(codecs, "can_decode", lambda _: False)
    report = qualify_installation(provider="cpu")
    assert not report.passed
    failed = [check for check in report.checks if check.passed is False]
    assert all(check.found == "missing from this installation" for check in failed)
    assert len(failed) == 12


def test_a_decoder_that_gives_another_image_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_edge.selftest import codecs

    def wrong(data: bytes, rendering: Any) -> Any:
        found = decode(data, rendering)
        return replace(found, pixels=np.roll(found.pixels, 1, axis=0)) if b"1.2.840.10008.1.2.5" in data else found

    monkeypatch.setattr(codecs, "decode", wrong)
    failed = [check.name for check in qualify_installation(provider="cpu").checks if not check.passed]
    assert failed == ["decoder of RLE Lossless"]


def test_nan_is_no_pass() -> None:
    from cxr_edge.qualification.golden import _same_outputs

    class Silent:
        def answer(self, *_: Any, **__: Any) -> Any:
            return type("Answer", (), {"probabilities": np.full(2, np.nan, np.float32)})

    contract = make_contract()
    check = _same_outputs(contract.golden.cases[0], {"image": GRAY}, Silent(), contract)  # type: ignore[arg-type]
    assert isinstance(check, Check)
    assert not check.passed
