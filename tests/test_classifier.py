"""The library as a script author uses it."""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import MEMBER, OUT_OF_DISTRIBUTION, make_contract, with_image_gate
from tiny_models import tiny_model, tiny_score, without_activation_map

import cxr_edge
from cxr_edge.contract import GatePolicy
from cxr_edge.phantom import chest_phantom, phantom_dicom
from cxr_edge.prepare import HASHED_IN_A_THREAD
from cxr_edge.processors import available_threads
from cxr_edge.read_ahead import AHEAD_PER_WORKER


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def classifier(tiny: Path) -> cxr_edge.Classifier:
    return cxr_edge.load(tiny, provider="cpu")


def _png(pixels: "np.ndarray[Any, np.dtype[np.uint8]]") -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


GRAY = chest_phantom(224, 224)
_PNG_OF_GRAY = _png(GRAY)


def test_every_kind_of_input_gives_the_same(classifier: cxr_edge.Classifier, tmp_path: Path) -> None:
    import pydicom

    path = tmp_path / "radiografía 胸部.dcm"
    path.write_bytes(phantom_dicom())
    images: list[Any] = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), pydicom.dcmread(path)]
    images += [bytearray(path.read_bytes()), memoryview(path.read_bytes())]
    predictions = [classifier.classify(image) for image in images]
    assert len({prediction.score for prediction in predictions}) == 1
    assert {prediction.source.path for prediction in predictions} == {str(path), None}
    assert len({prediction.source.sop_instance_uid for prediction in predictions}) == 1


def test_the_score_is_the_networks(classifier: cxr_edge.Classifier) -> None:
    prediction = classifier.classify(GRAY)
    assert prediction.score == pytest.approx(tiny_score(GRAY), abs=1e-5)
    assert prediction.probabilities["NORMAL"] == pytest.approx(1 - tiny_score(GRAY), abs=1e-5)
    assert classifier.classify(_png(GRAY)).score == prediction.score


def test_a_prediction_says_everything(classifier: cxr_edge.Classifier) -> None:
    prediction = classifier.classify(phantom_dicom())
    assert [note.code for note in prediction.gate.reasons] == ["no_image_check"]
    assert prediction.rendering.startswith("ps3.3-c11-floor8")
    assert prediction.model.sha256 == classifier.model.sha256
    assert prediction.execution_provider == "CPUExecutionProvider"
    assert prediction.operating_point.name == "standard"
    latency = prediction.latency
    stages = latency.read_ms + latency.decode_ms + latency.preprocess_ms + latency.inference_ms
    assert 0 < stages <= latency.total_ms + 1e-6
    assert latency.inference_ms > 0
    assert prediction.activation_map is not None
    assert prediction.activation_map.shape == (7, 7, 2)
    assert prediction.radiograph is None
    kept = classifier.classify(GRAY, keep_radiograph=True).radiograph
    assert kept is not None
    np.testing.assert_array_equal(kept.pixels, GRAY)


def test_without_tags_the_gate_is_unknown_never_ok(classifier: cxr_edge.Classifier) -> None:
    for image in (GRAY, _png(GRAY)):
        assert classifier.classify(image).gate.status == "unknown"


@pytest.mark.parametrize("image", [1, None, ["a"], io.StringIO("text"), {"a": 1}])
def test_what_is_no_image_is_a_usage_error(classifier: cxr_edge.Classifier, image: Any) -> None:
    with pytest.raises(cxr_edge.UsageError, match="need a path, bytes"):
        classifier.classify(image)
    (result,) = classifier.classify_many([image])
    assert isinstance(result, cxr_edge.Rejection)
    assert result.reason is cxr_edge.Reason.UNSUPPORTED
    assert "need a path, bytes" in result.message


@pytest.mark.parametrize("images", ["study.dcm", b"bytes", Path("study.dcm")])
def test_one_image_is_not_many(classifier: cxr_edge.Classifier, images: Any) -> None:
    with pytest.raises(cxr_edge.UsageError, match="classify takes one"):
        classifier.classify_many(images)


def test_a_clash_is_said_at_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_edge import classifier as module

    monkeypatch.setattr(module, "clashing_builds", lambda: "two builds")
    assert ("onnxruntime_clash", "two builds") in [(n.code, n.message) for n in cxr_edge.load(tiny).notices]


def test_a_rejection_tells_which_bytes_and_how_long(classifier: cxr_edge.Classifier) -> None:
    (result,) = classifier.classify_many([b"nonsense"])
    assert isinstance(result, cxr_edge.Rejection)
    assert result.source.content_sha256 == hashlib.sha256(b"nonsense").hexdigest()
    assert 0 < result.latency.decode_ms <= result.latency.total_ms


@pytest.mark.parametrize("cut", [0, 999])
def test_a_large_file_is_hashed_beside_the_decoding(classifier: cxr_edge.Classifier, cut: int) -> None:
    content = phantom_dicom(rows=1024, columns=1024)
    content = content[: len(content) - cut]
    assert len(content) > HASHED_IN_A_THREAD
    (result,) = classifier.classify_many([content])
    assert isinstance(result, cxr_edge.Rejection) is bool(cut)
    assert result.source.content_sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((9, 9), np.uint16),
        np.zeros((9, 9), np.float32),
        np.zeros((0, 9), np.uint8),
        np.zeros(9, np.uint8),
        np.zeros((9, 9, 4), np.uint8),
    ],
    ids=str,
)
def test_arrays_are_not_guessed_at(classifier: cxr_edge.Classifier, pixels: Any) -> None:
    with pytest.raises(cxr_edge.InputError, match="need uint8") as caught:
        classifier.classify(pixels)
    assert caught.value.reason is cxr_edge.Reason.UNSUPPORTED


def test_a_bad_file_is_a_clear_error(classifier: cxr_edge.Classifier, tmp_path: Path) -> None:
    with pytest.raises(cxr_edge.InputError) as caught:
        classifier.classify(tmp_path / "missing.dcm")
    assert caught.value.reason is cxr_edge.Reason.NOT_FOUND
    assert pickle.loads(pickle.dumps(caught.value)).reason is cxr_edge.Reason.NOT_FOUND  # noqa: S301 - our own bytes
    with pytest.raises(cxr_edge.InputError, match="folder"):
        classifier.classify(tmp_path)
    with pytest.raises(cxr_edge.InputError):
        classifier.classify("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_does_not_hang(classifier: cxr_edge.Classifier, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(cxr_edge.InputError, match="regular file"):
        classifier.classify(tmp_path / "pipe")


def test_a_batch_goes_on(classifier: cxr_edge.Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_edge import prepare

    def crash(*_: object) -> None:
        message = "with a patient's name in it"
        raise ZeroDivisionError(message)

    images: list[Any] = [GRAY, b"", b"nonsense", GRAY]
    kinds = [type(result).__name__ for result in classifier.classify_many(images)]
    assert kinds == ["Prediction", "Rejection", "Rejection", "Prediction"]
    monkeypatch.setattr(prepare, "check_gate", crash)
    (result,) = classifier.classify_many([GRAY])
    assert isinstance(result, cxr_edge.Rejection)
    assert (result.reason, result.message) == ("internal", "unexpected ZeroDivisionError while reading the image")


def test_many_gives_what_one_gives_in_order(classifier: cxr_edge.Classifier) -> None:
    images = [chest_phantom(200 + 7 * i, 180, seed=i) for i in range(20)]
    many = [r.score for r in classifier.classify_many(images) if isinstance(r, cxr_edge.Prediction)]
    assert many == [classifier.classify(image).score for image in images]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_an_iterable_that_raises_loses_no_result(classifier: cxr_edge.Classifier, count: int) -> None:
    def images() -> Iterator[Any]:
        yield from [GRAY] * count
        raise RuntimeError

    got = []
    iterator = iter(classifier.classify_many(images()))
    with pytest.raises(RuntimeError):
        while True:
            got.append(next(iterator))
    assert len(got) == count


def test_a_script_that_ends_at_once_ends_cleanly(tmp_path: Path) -> None:
    script = "import cxr_edge\ntry: cxr_edge.load('nope.onnx')\nexcept cxr_edge.ModelError: pass"
    for _ in range(4):
        assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False).returncode == 0


def test_many_reads_only_a_little_ahead(classifier: cxr_edge.Classifier) -> None:
    taken = 0

    def endless() -> Iterator[Any]:
        nonlocal taken
        while True:
            taken += 1
            yield GRAY

    results = classifier.classify_many(endless())
    for _ in range(3):
        next(results)
    results.close()  # a generator
    assert taken <= 3 + available_threads() * AHEAD_PER_WORKER + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cxr-edge-decode")]


_FORGOTTEN = """
import gc, sys, threading
import numpy as np
import cxr_edge

results = cxr_edge.load(sys.argv[1], provider="cpu", gate="off").classify_many([np.zeros((64, 64), np.uint8)] * 50)
next(results)
cycle = [results]
cycle.append(cycle)
del results, cycle
with threading._active_limbo_lock:  # as inside a thread's own start: no other thread can end now
    gc.collect()
"""


def test_a_forgotten_batch_waits_for_nothing(tiny: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORGOTTEN, tiny], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threads_share_one_classifier(classifier: cxr_edge.Classifier) -> None:
    images = [chest_phantom(224, 224, seed=i) for i in range(24)]
    expected = [classifier.classify(image).score for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert [p.score for p in pool.map(classifier.classify, images)] == expected


def test_pickle(classifier: cxr_edge.Classifier, tiny: Path, tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(classifier))  # noqa: S301 - our own bytes
    assert copy.classify(GRAY).score == classifier.classify(GRAY).score
    moved = tmp_path / "tiny.onnx"
    moved.write_bytes(tiny.read_bytes())
    frozen = pickle.dumps(cxr_edge.load(moved))
    tiny_model(tmp_path, make_contract(default_operating_point="screening"))
    with pytest.raises(cxr_edge.ModelError, match="changed"):
        pickle.loads(frozen)  # noqa: S301


def test_operating_points(tiny: Path) -> None:
    image = np.full((224, 224), 120, np.uint8)  # score 0.32
    assert cxr_edge.load(tiny).classify(image).positive is False
    screening = cxr_edge.load(tiny, operating_point="screening").classify(image)
    assert (screening.positive, screening.label, screening.operating_point.threshold) == (True, "PNEUMONIA", 0.1)
    with pytest.raises(cxr_edge.UsageError, match="standard, screening"):
        cxr_edge.load(tiny, operating_point="best")


@pytest.mark.parametrize(("mode", "status"), [("warn", "refused"), ("off", "unknown")])
def test_gate_modes(tiny: Path, mode: Any, status: str) -> None:
    import pydicom

    lateral = pydicom.dcmread(io.BytesIO(phantom_dicom()))
    lateral.ViewPosition = "LL"
    with pytest.raises(cxr_edge.InputError) as caught:
        cxr_edge.load(tiny).classify(lateral)
    assert caught.value.reason is cxr_edge.Reason.GATE_VIEW
    (rejection,) = cxr_edge.load(tiny).classify_many([lateral])
    assert isinstance(rejection, cxr_edge.Rejection)
    assert rejection.gate is not None
    assert rejection.source.sop_instance_uid == lateral.SOPInstanceUID
    gate = cxr_edge.load(tiny, gate=mode).classify(lateral).gate
    assert gate.status == status
    assert [note.code for note in gate.reasons][:1] == ["gate_off" if mode == "off" else "gate_view"]


@pytest.mark.parametrize("options", [{"gate": "loose"}, {"threads": 0}, {"threads": -1}])
def test_bad_options(tiny: Path, options: Any) -> None:
    with pytest.raises(cxr_edge.UsageError):
        cxr_edge.load(tiny, **options)


def test_notices(tiny: Path) -> None:
    codes = [note.code for note in cxr_edge.load(tiny).notices]
    assert codes == ["model_not_pinned", "provider_cpu"]
    assert [note.code for note in cxr_edge.load(tiny, provider="cpu").notices] == ["model_not_pinned"]


GRAY_MEMBER = replace(
    MEMBER,
    input=replace(MEMBER.input, channels=1),
    normalization=replace(MEMBER.normalization, channel_order="gray", mean=(0.0,), scale=(255.0,)),
)
WIDER_FEATURES = with_image_gate(make_contract())
WIDER_FEATURES = replace(
    WIDER_FEATURES, gate=GatePolicy(out_of_distribution=replace(OUT_OF_DISTRIBUTION, components=4))
)


@pytest.mark.parametrize(
    ("contract", "graph", "message"),
    [
        (make_contract(), {"channels": 1}, "tensor image"),
        (make_contract(), {"classes": 3}, "tensor probabilities"),
        (make_contract(members=(GRAY_MEMBER,)), {}, "tensor image"),
        (make_contract(members=(replace(MEMBER, input=replace(MEMBER.input, name="x")),)), {}, "tensor x"),
        (WIDER_FEATURES, {}, "tensor features"),
    ],
    ids=["channels", "classes", "gray", "name", "features"],
)
def test_contract_and_graph_must_agree(tmp_path: Path, contract: Any, graph: Any, message: str) -> None:
    with pytest.raises(cxr_edge.ContractError, match=message):
        cxr_edge.load(tiny_model(tmp_path, contract, **graph))


def test_a_batch_survives_a_failing_network(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = cxr_edge.load(tiny)
    monkeypatch.setattr(classifier._engine, "run", lambda *_: [np.zeros((1, 3), np.float32)])  # noqa: SLF001
    (result,) = classifier.classify_many([phantom_dicom()])
    assert isinstance(result, cxr_edge.Rejection)
    assert (result.reason, result.gate is not None) == (cxr_edge.Reason.INTERNAL, True)
    assert result.source.sop_instance_uid
    monkeypatch.setattr(classifier._engine, "run", lambda *_: 1 / 0)  # noqa: SLF001
    (result,) = classifier.classify_many([GRAY])
    assert isinstance(result, cxr_edge.Rejection)


def test_names_that_are_no_unicode_stop_nothing(classifier: cxr_edge.Classifier) -> None:
    results = list(classifier.classify_many(["\ud800", GRAY]))
    assert [type(result).__name__ for result in results] == ["Rejection", "Prediction"]


def test_a_rejected_dicom_keeps_its_study(classifier: cxr_edge.Classifier) -> None:
    import pydicom

    raw = pydicom.dcmread(io.BytesIO(phantom_dicom()))
    raw.PresentationIntentType = "FOR PROCESSING"
    (result,) = classifier.classify_many([raw])
    assert isinstance(result, cxr_edge.Rejection)
    assert result.source.study_instance_uid == raw.StudyInstanceUID


@pytest.mark.parametrize("missing", [1, 100_000])
def test_a_truncated_dicom_keeps_its_study(classifier: cxr_edge.Classifier, missing: int) -> None:
    import pydicom

    whole = phantom_dicom()
    (result,) = classifier.classify_many([whole[:-missing]])
    assert isinstance(result, cxr_edge.Rejection)
    tags = pydicom.dcmread(io.BytesIO(whole))
    assert (result.reason, result.source.study_instance_uid, result.source.sop_instance_uid) == (
        cxr_edge.Reason.TRUNCATED,
        tags.StudyInstanceUID,
        tags.SOPInstanceUID,
    )


def test_a_broken_installation_blames_no_image(
    classifier: cxr_edge.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(cxr_edge.EnvironmentUnusable):
        list(classifier.classify_many([_PNG_OF_GRAY]))


def test_a_network_that_gives_no_probabilities_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.qualification.qualify.is_recorded", lambda _: True)  # it would not even be loaded
    broken = cxr_edge.load(tiny_model(tmp_path, constant=(0.9, 0.9)))
    with pytest.raises(cxr_edge.ModelError, match="no probabilities"):
        broken.classify(GRAY)
    (result,) = broken.classify_many([GRAY])
    assert isinstance(result, cxr_edge.Rejection)


def test_gray_input_and_no_activation_map(tmp_path: Path) -> None:
    contract = without_activation_map(make_contract(members=(GRAY_MEMBER,)))
    prediction = cxr_edge.load(tiny_model(tmp_path, contract, channels=1)).classify(GRAY)
    assert prediction.activation_map is None
    assert prediction.score == pytest.approx(tiny_score(GRAY), abs=1e-5)


def test_the_library_neither_prints_nor_imports_what_it_does_not_use(tmp_path: Path) -> None:
    script = (
        "import sys, cxr_edge; assert 'numpy' not in sys.modules; m = cxr_edge.load(gate='off');"
        "import numpy as np; m.classify(np.zeros((64, 64), np.uint8));"
        "list(m.classify_many([b'', np.zeros((64, 64), np.uint8)]));"
        "assert not {'cv2', 'pydicom', 'rich', 'typer'} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names() -> None:
    assert sorted(cxr_edge.__all__) == cxr_edge.__all__ == dir(cxr_edge)
    assert all(getattr(cxr_edge, name) is not None for name in cxr_edge.__all__)
    with pytest.raises(AttributeError):
        _ = cxr_edge.nonsense


def test_where_no_thread_can_be_started_the_environment_is_to_blame(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    classifier = cxr_edge.load(tiny)
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor.submit", refuse)
    with pytest.raises(cxr_edge.EnvironmentUnusable, match="no decoding thread"):
        list(classifier.classify_many([GRAY, GRAY]))


def test_a_classifier_that_fails_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr("cxr_edge.isolation.pool.Pool.close", lambda _: closed.append(True))
    with pytest.raises(cxr_edge.UsageError):
        cxr_edge.load(tiny_model(tmp_path), operating_point="none such", isolation=cxr_edge.IsolationLimits())
    assert closed


def test_isolation_of_another_type_is_a_usage_error(tiny: Path) -> None:
    with pytest.raises(cxr_edge.UsageError, match="IsolationLimits"):
        cxr_edge.load(tiny, isolation=True)  # type: ignore[arg-type]
