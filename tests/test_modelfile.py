"""Which model file is read, and that its bytes are the released ones."""

import hashlib
from pathlib import Path

import pytest

from cxr_edge.errors import ModelError
from cxr_edge.modelfile import DEFAULT_MODEL, packaged_models, read_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"some bytes")
    return path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_default_model_is_packaged_and_pinned() -> None:
    assert DEFAULT_MODEL in packaged_models()
    model = read_model()
    assert model.pinned
    assert model.sha256 == hashlib.sha256(model.content).hexdigest()
    assert len(model.content) < 26_000_000


def test_unpinned_file_is_read_and_says_so(model: Path) -> None:
    found = read_model(model)
    assert (found.pinned, found.sha256, found.content) == (False, _digest(model), b"some bytes")


@pytest.mark.parametrize("listing", ["model.onnx.sha256", "SHA256SUMS"])
@pytest.mark.parametrize("separator", ["  ", " *"])
def test_pinned_file(model: Path, listing: str, separator: str) -> None:
    model.with_name(listing).write_text(f"{_digest(model)}{separator}model.onnx\n", encoding="utf-8")
    assert read_model(str(model)).pinned


@pytest.mark.parametrize("listing", ["model.onnx.sha256", "SHA256SUMS"])
def test_altered_file_is_refused(model: Path, listing: str) -> None:
    model.with_name(listing).write_text(f"{_digest(model)}  model.onnx\n", encoding="utf-8")
    model.write_bytes(b"other bytes")
    with pytest.raises(ModelError, match="altered or damaged"):
        read_model(model)


def test_both_listings_must_agree_and_capitals_count(model: Path) -> None:
    model.with_name("model.onnx.sha256").write_text(f"\ufeff{_digest(model).upper()}  model.onnx\r\n", encoding="utf-8")
    assert read_model(model).pinned
    model.with_name("SHA256SUMS").write_text(f"{'0' * 64}  model.onnx\n", encoding="utf-8")
    with pytest.raises(ModelError, match="altered or damaged"):
        read_model(model)


def test_checksum_file_without_a_digest_is_refused(model: Path) -> None:
    model.with_name("model.onnx.sha256").write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(ModelError, match="names no SHA-256"):
        read_model(model)


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model is named 'covid'"):
        read_model("covid")
    with pytest.raises(ModelError, match="no model file"):
        read_model(tmp_path / "missing.onnx")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ModelError, match="empty"):
        read_model(tmp_path / "empty.onnx")
    with pytest.raises(ModelError):
        read_model(tmp_path)


def test_external_data_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    numpy_helper = pytest.importorskip("onnx.numpy_helper")
    np = pytest.importorskip("numpy")
    tensor = numpy_helper.from_array(np.arange(4, dtype=np.float32), "secret")
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    path = tmp_path / "external.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelError, match="external data"):
        read_model(path)
    path.write_bytes(b"location is a word like any other")
    assert read_model(path).content
