"""The whole road, on a tiny network: Keras in, one certified file out, or nothing."""

import base64
import hashlib
import importlib
import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow", reason="needs the workbench: pip install ./export")

import onnx

import cxr_edge
from cxr_edge.contract import Contract, Contrast, GoldenCase
from cxr_edge.errors import LimitBroken, ModelError, OutputError, UsageError
from cxr_edge.files import write_atomically
from cxr_edge.preprocess import preprocess
from cxr_edge.preprocess.trim import part_seen
from cxr_edge_export.convert import convert, gather_sets
from cxr_edge_export.dataset import read_images
from cxr_edge_export.golden import BARRED, spread
from cxr_edge_export.held_back import note_on_tests, refuse_another_count
from cxr_edge_export.islands import check_islands
from cxr_edge_export.recipe import read_recipe
from cxr_edge_export.selection import read_selected
from cxr_edge_export.stamp import publish, read_contract

MEAN = np.array([103.939, 116.779, 123.68], np.float32)


def contract_of(path: Path) -> Contract:
    return read_contract(onnx.load(path))


def keras_score(trained: Any, path: Path, contract: Contract) -> float:
    tensor = preprocess(np.asarray(Image.open(path)), contract.members[0])
    normalized = (tensor[None].astype(np.float32) - MEAN) / np.float32(64)
    return float(trained.predict(normalized, verbose=0)[0, 1])


@pytest.mark.parametrize(("as_float", "tolerance"), [(True, 1e-4), (False, 0.15)])
def test_the_file_classifies_as_keras_does(
    trained: Any, workbench: Any, tmp_path: Path, *, as_float: bool, tolerance: float
) -> None:
    contract = convert(workbench.request(tmp_path / "tiny.onnx", as_float=as_float))
    classifier = cxr_edge.load(tmp_path / "tiny.onnx", provider="cpu")
    for path in sorted(workbench.validation.rglob("*.png")):
        prediction = classifier.classify(path.read_bytes())
        assert isinstance(prediction, cxr_edge.Prediction)
        assert prediction.score == pytest.approx(keras_score(trained, path, contract), abs=tolerance)
        assert prediction.label == path.parent.name


def test_trimmed_edges_and_contrast_are_part_of_the_road(
    trained: Any, workbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = workbench.recipe_with(
        tmp_path,
        ('aspect = "squash"', 'aspect = "squash"\ntrim = 12'),
        ("[normalization]", "[contrast]\npercentiles = [50, 98]\nlevels = [120, 180]\nmargin = 25\n\n[normalization]"),
    )
    said = list[str]()
    monkeypatch.setattr("cxr_edge_export.doubts.CHANCE", 1.0)
    contract = convert(workbench.request(tmp_path / "tiny.onnx", recipe=recipe, as_float=True), note=said.append)
    assert any("than a coin does" in note for note in said)
    member = contract.members[0]
    assert (member.resize.trim, member.contrast) == (12, Contrast(percentiles=(50, 98), levels=(120, 180), margin=25))
    barred = next(case for case in contract.golden.cases if case.name == BARRED)
    drawing = np.asarray(Image.open(io.BytesIO(base64.b64decode(barred.png))))
    assert part_seen(drawing, member.resize) != (0, 0, *drawing.shape)
    digest = hashlib.sha256(preprocess(drawing, member).tobytes()).hexdigest()
    plain = preprocess(drawing, replace(member, contrast=None))
    assert barred.tensor_sha256 == (digest,) != (hashlib.sha256(plain.tobytes()).hexdigest(),)
    with cxr_edge.load(tmp_path / "tiny.onnx", provider="cpu") as classifier:
        for path in sorted(workbench.validation.rglob("*.png"))[:6]:
            prediction = classifier.classify(path)
            assert isinstance(prediction, cxr_edge.Prediction)
            assert prediction.score == pytest.approx(keras_score(trained, path, contract), abs=1e-4)


def test_a_recipe_that_reads_otherwise_than_the_training_run_is_refused(workbench: Any, tmp_path: Path) -> None:
    """Parity would not tell: Keras would be fed the same wrong way."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copyfile(workbench.model, run / "model.keras")
    shutil.copyfile(workbench.recipe, run / "recipe.toml")
    (run / "run.json").write_text("{}", encoding="utf-8")
    recipe = workbench.recipe_with(
        tmp_path,
        ('"pillow-bilinear"', '"pillow-bicubic"'),
        ("scale = [64.0", "scale = [1.0"),
        ("[normalization]", "[contrast]\npercentiles = [50]\nlevels = [150]\n\n[normalization]"),
    )
    request = workbench.request(tmp_path / "tiny.onnx", models=(run / "model.keras",), recipe=recipe)
    with pytest.raises(UsageError, match="another resize, normalization, contrast than the training run in"):
        convert(request)
    assert not (tmp_path / "tiny.onnx").exists()


def test_families_without_an_image_gate_to_test_are_refused_at_once(workbench: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no image_gate; nothing could be tested"):
        convert(workbench.request(tmp_path / "tiny.onnx", families=tmp_path))


def test_graph_takes_uint8_and_gives_named_outputs(converted: Path) -> None:
    graph = onnx.load(converted).graph
    assert [value.name for value in graph.input] == ["image"]
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {value.name for value in graph.output} == {"probabilities", "activation_map"}


def test_graph_runs_in_integers(converted: Path) -> None:
    operators = check_islands(onnx.load(converted))
    assert operators["QLinearConv"] == 2


def test_sha256_file_is_written_beside(converted: Path) -> None:
    digest = hashlib.sha256(converted.read_bytes()).hexdigest()
    for listing in ("tiny.onnx.sha256", "SHA256SUMS"):
        assert converted.with_name(listing).read_text(encoding="utf-8") == f"{digest}  tiny.onnx\n"
    assert cxr_edge.load(converted).notices[:1][0].code == "provider_cpu"


def test_a_checksum_that_cannot_be_written_leaves_no_model(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text("0  other.onnx\n", encoding="utf-8")
    publish(b"model", tmp_path / "a.onnx", overwrite=False)
    assert len((tmp_path / "SHA256SUMS").read_text(encoding="utf-8").splitlines()) == 2
    (tmp_path / "b.onnx.sha256").mkdir()
    with pytest.raises(OutputError):
        publish(b"model", tmp_path / "b.onnx", overwrite=True)
    assert not (tmp_path / "b.onnx").exists()


def test_publishing_again_keeps_other_lines_and_takes_failures_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums, other = tmp_path / "SHA256SUMS", f"{'1' * 64} *other.onnx"
    sums.write_text(f"\n{'2' * 64} *a.onnx\n{other}", encoding="utf-8")  # binary mode, a blank line, no last newline
    publish(b"first", tmp_path / "a.onnx", overwrite=False)
    digest = hashlib.sha256(b"first").hexdigest()
    assert sums.read_text(encoding="utf-8") == f"{other}\n{digest}  a.onnx\n"
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(target: Path, content: bytes, *, overwrite: bool) -> None:
        if target.name == "a.onnx":
            raise OutputError
        write_atomically(target, content, overwrite=overwrite)

    monkeypatch.setattr("cxr_edge_export.stamp.write_atomically", fail)
    with pytest.raises(OutputError):
        publish(b"second", tmp_path / "a.onnx", overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_operating_points_hold_in_the_runtime(converted: Path, workbench: Any) -> None:
    """What the contract says of a threshold is what users of the file get, score calibration included."""
    contract = contract_of(converted)
    for point in contract.operating_points:
        classifier = cxr_edge.load(converted, operating_point=point.name)
        found = [classifier.classify(path).positive for path in sorted(workbench.validation.glob("PNEUMONIA/*"))]
        assert np.mean(found) == pytest.approx(point.sensitivity.estimate)


def test_temperature_counts_in_the_certificate(workbench: Any, tmp_path: Path) -> None:
    edit = ("recipe_version = 1", "recipe_version = 1\ntemperature = 2.0")
    output = tmp_path / "warm.onnx"
    convert(workbench.request(output, recipe=workbench.recipe_with(tmp_path, edit)))
    test_operating_points_hold_in_the_runtime(output, workbench)


def test_golden_cases_span_the_scores() -> None:
    cases = [
        GoldenCase(name=str(i), png="", tensor_sha256=(), reference=(1 - i / 20, i / 20), exported=())
        for i in range(21)
    ]
    barred = replace(cases[3], name=BARRED)
    *ranked, last = spread([barred, *cases[::-1]], [1])
    assert last is barred
    assert len(ranked) == 5
    chosen = [case.reference[1] for case in spread(cases[::-1], [1])]
    assert (len(chosen), chosen[0], chosen[-1]) == (6, 0, 1)
    assert chosen == sorted(chosen)


def test_certificate_counts_the_images(converted: Path) -> None:
    contract = contract_of(converted)
    assert contract.parity.validation.images == 40
    assert contract.parity.agreement.images == 60
    assert contract.quantization.images == 16
    assert contract.quantization.reduce_range
    assert [point.name for point in contract.operating_points] == ["standard", "youden", "screening"]
    assert contract.operating_points[0].sensitivity.estimate > 0.8  # it really learned


def test_golden_cases_replay(converted: Path, trained: Any) -> None:
    contract = contract_of(converted)
    member = contract.members[0]
    for case in contract.golden.cases:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(case.png))))
        tensor = preprocess(pixels, member)
        assert hashlib.sha256(tensor.tobytes()).hexdigest() == case.tensor_sha256[0]
        reference = trained.predict((tensor[None].astype(np.float32) - MEAN) / np.float32(64), verbose=0)[0]
        np.testing.assert_allclose(case.reference, reference, atol=1e-5)


def test_activation_map_averages_to_the_logits(trained: Any, workbench: Any, tmp_path: Path) -> None:
    import onnxruntime

    output = tmp_path / "float.onnx"
    convert(workbench.request(output, as_float=True))
    session = onnxruntime.InferenceSession(output)
    image = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    outputs = session.run(["probabilities", "activation_map"], {"image": image})
    probabilities, activation = (np.asarray(output) for output in outputs)
    logits = activation.mean(axis=(1, 2)) + trained.layers[-1].get_weights()[1]
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, exponentials / exponentials.sum(axis=1, keepdims=True), atol=1e-5)
    assert contract_of(output).quantization.scheme == "none"


def test_broken_limit_names_the_figure_and_leaves_nothing(workbench: Any, tmp_path: Path) -> None:
    output = tmp_path / "out" / "tiny.onnx"
    output.parent.mkdir()
    recipe = workbench.recipe_with(tmp_path, ("agreement_images = 50", "agreement_images = 5000"))
    with pytest.raises(LimitBroken, match=r"measured on 60 images; limits\.agreement_images of the recipe needs 5000"):
        convert(workbench.request(output, recipe=recipe))
    assert list(output.parent.iterdir()) == []


def test_the_same_bytes_under_many_names_are_one_image(workbench: Any, tmp_path: Path) -> None:
    """Else copies of one image would make a certificate of few images look like one of many."""
    copies = tmp_path / "copies"
    shutil.copytree(workbench.validation, copies)
    some = next((copies / "NORMAL").iterdir())
    for number in range(50):
        shutil.copy(some, copies / "NORMAL" / f"copy{number}.png")
    output, said = tmp_path / "x.onnx", list[str]()
    for agreement, different in ((None, 60), (copies, 40)):
        request = workbench.request(output, validation=copies, agreement=agreement)
        sets = gather_sets(request, read_recipe(workbench.recipe).recipe)
        assert len(sets.agreement) == len({image.sha256 for image in sets.agreement}) == different
    with pytest.raises(LimitBroken, match="measured on 40 images"):
        convert(request, note=said.append)
    absent = workbench.request(output, validation=copies, models=(tmp_path / "absent.keras",))
    with pytest.raises(ModelError, match="absent"):
        convert(absent, note=said.append)
    assert said == [
        "50 of the 90 validation images repeat the bytes of another; they count twice",
        "small sample: 20 of PNEUMONIA in the validation images; figures on them say little",
    ]


def test_sets_are_apart_by_patient_and_content(workbench: Any, tmp_path: Path) -> None:
    """The calibration folder holds the validation images too, one of them under another name."""
    pool = tmp_path / "pool"
    shutil.copytree(workbench.calibration, pool)
    shutil.copytree(workbench.validation, pool, dirs_exist_ok=True)
    some = next((workbench.validation / "NORMAL").iterdir())
    shutil.copy(some, pool / "NORMAL" / "person9999_virus_1.png")
    for agreement in (None, workbench.validation):
        request = workbench.request(tmp_path / "x.onnx", calibration=pool, agreement=agreement)
        sets = gather_sets(request, read_recipe(workbench.recipe).recipe)
        calibration = {image.sha256 for image in sets.calibration}
        assert len(calibration) == 16
        assert not calibration & {image.sha256 for image in (*sets.validation, *sets.agreement)}


def test_test_images_of_the_training_run_choose_nothing(workbench: Any, tmp_path: Path) -> None:
    """Nor do others of their patients; and thresholds are not chosen on those that trained."""
    pool, run = tmp_path / "pool", tmp_path / "run"
    shutil.copytree(workbench.calibration, pool)
    run.mkdir()
    (run / "run.json").write_text("{}", encoding="utf-8")
    names = [f"{label}/{path.name}" for label in ("NORMAL", "PNEUMONIA") for path in sorted((pool / label).iterdir())]
    elsewhere = tmp_path / "elsewhere" / "NORMAL"
    elsewhere.mkdir(parents=True)
    shutil.copy(pool / names[9], elsewhere / "another-name.png")
    held = [names[0], names[-1], str(elsewhere / "another-name.png"), "NORMAL/gone.png"]
    (run / "test.txt").write_text("\n".join(held) + "\n", encoding="utf-8")
    recipe = read_recipe(workbench.recipe).recipe
    request = workbench.request(tmp_path / "x.onnx", calibration=pool)
    models = (run / "model.keras",)
    sets = gather_sets(request, recipe, models)
    seen = {image.path for images in (sets.training, sets.calibration, sets.agreement) for image in images}
    assert not seen & {pool / names[0], pool / names[-1], pool / names[9]}
    assert len(sets.training) == len(gather_sets(request, recipe).training) - 3
    assert note_on_tests(models, sets.validation, recipe, pool) is None
    note = note_on_tests(models, read_images(pool, recipe.labels), recipe, pool)
    assert note is not None
    assert note.startswith("3 of the 80 validation images are of patients in the test of the run")
    trained = sorted((workbench.validation / "NORMAL").iterdir())[:2]
    (run / "training.txt").write_text("".join(f"{path}\n" for path in trained), encoding="utf-8")
    with pytest.raises(UsageError, match=r"^2 of the \d+ validation images are of patients .* trained on$"):
        gather_sets(request, recipe, models)
    link = tmp_path / "link.keras"
    models[0].touch()
    link.symlink_to(models[0])
    with pytest.raises(UsageError, match="trained on"):  # the network's run, not the link's folder
        gather_sets(request, recipe, (link,))
    (run / "training.txt").write_text("NORMAL/of-elsewhere.png\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"none of the 1 images that the run .* trained on is in"):
        gather_sets(request, recipe, models)
    with pytest.raises(
        UsageError, match=r"the recipe says training_data\.images = 96; the run in .* trained on 1: say 1$"
    ):
        refuse_another_count(models, recipe)
    refuse_another_count((*models, run / "other.keras"), recipe)  # an ensemble's networks were trained apart
    (run / "training.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"training\.txt cannot be read"):
        gather_sets(request, recipe, models)


def test_patients_of_a_run_are_those_that_the_csv_tells(workbench: Any, tmp_path: Path) -> None:
    pool, run = tmp_path / "pool", tmp_path / "run"
    shutil.copytree(workbench.calibration, pool)
    run.mkdir()
    (run / "run.json").write_text("{}", encoding="utf-8")
    one, other, *_ = sorted((pool / "NORMAL").iterdir())
    rows = f"NORMAL/{one.name},P\nNORMAL/{other.name},P\n"
    (pool / "metadata.csv").write_text("filename,patient\n" + rows, encoding="utf-8")
    (run / "test.txt").write_text(f"NORMAL/{one.name}\n", encoding="utf-8")
    csv = '\n[selection]\nmetadata_csv = "metadata.csv"\nmetadata_columns = { patient = "patient" }\n'
    changed = tmp_path / "recipe.toml"
    changed.write_text(workbench.recipe.read_text(encoding="utf-8") + csv, encoding="utf-8")
    recipe = read_recipe(changed).recipe
    listing = tmp_path / "list.txt"
    listing.write_text(f"{other}\n", encoding="utf-8")
    note = note_on_tests((run / "model.keras",), read_selected(recipe, listing, pool), recipe, pool)
    assert note is not None
    assert note.startswith("1 of the 1 validation images")


@pytest.mark.parametrize(
    ("module", "check", "error"),
    [("onnx_float", "check_against_keras", LimitBroken), ("convert", "check_islands", ModelError)],
)
def test_a_failing_check_stops_the_export(
    workbench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, check: str, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module(f"cxr_edge_export.{module}"), check, fail)
    with pytest.raises(error):
        convert(workbench.request(tmp_path / "tiny.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_refused_before_the_work(workbench: Any, tmp_path: Path) -> None:
    output = tmp_path / "tiny.onnx"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="--overwrite"):
        convert(workbench.request(output, models=(tmp_path / "absent.keras",)))
    assert output.read_bytes() == b"precious"


def test_labels_must_match_the_network(workbench: Any, tmp_path: Path) -> None:
    recipe = workbench.recipe_with(tmp_path, ('["NORMAL", "PNEUMONIA"]', '["NORMAL", "PNEUMONIA", "VIRAL"]'))
    with pytest.raises(cxr_edge.CxrEdgeError, match="2 outputs; the recipe has 3 labels"):
        convert(workbench.request(tmp_path / "tiny.onnx", recipe=recipe))


def test_too_few_calibration_images(workbench: Any, tmp_path: Path) -> None:
    recipe = workbench.recipe_with(tmp_path, ("images = 16", "images = 500"))
    with pytest.raises(UsageError, match=r"quantization\.images asks for 500 images"):
        convert(workbench.request(tmp_path / "tiny.onnx", recipe=recipe))


def test_one_sigmoid_becomes_two_probabilities(sigmoid_network: Any, workbench: Any, tmp_path: Path) -> None:
    import onnxruntime

    from cxr_edge_export.convert import build_float_graph
    from cxr_edge_export.original import load_original

    sigmoid_network.save(tmp_path / "sigmoid.h5")
    images = np.random.Generator(np.random.PCG64(3)).integers(0, 256, (4, 48, 48, 3), dtype=np.uint8)
    recipe = read_recipe(workbench.recipe).recipe
    original = load_original([tmp_path / "sigmoid.h5"], recipe)
    graph = build_float_graph(original, recipe, [{"image": image} for image in images])
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    probabilities = np.asarray(session.run(["probabilities"], {"image": images})[0])
    expected = sigmoid_network.predict((images.astype(np.float32) - MEAN) / np.float32(64), verbose=0)
    np.testing.assert_allclose(probabilities, np.concatenate([1 - expected, expected], axis=1), atol=1e-5)
