"""The engine: the provider asked for or an error, telemetry off, errors in one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_model

from cxr_edge.engine import AUTO_ORDER, PROVIDERS, Engine, onnxruntime_module
from cxr_edge.errors import EnvironmentUnusable, ModelError, ProviderError
from cxr_edge.processors import available_threads


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_model(tmp_path_factory.mktemp("model")).read_bytes()


def test_runs_and_names_its_provider(model: bytes) -> None:
    engine = Engine(model, provider="cpu", threads=1)
    assert engine.execution_provider == "CPUExecutionProvider"
    assert engine.inputs["image"] == ("tensor(uint8)", ("N", 224, 224, 3))
    probabilities, maps = engine.run(
        {"image": np.zeros((2, 224, 224, 3), np.uint8)}, ("probabilities", "activation_map")
    )
    assert (probabilities.shape, maps.shape) == ((2, 2), (2, 7, 7, 2))
    assert probabilities.dtype == np.float32


def _absent() -> list[str]:
    present = onnxruntime_module().get_available_providers()
    return [name for name, full in PROVIDERS.items() if full not in present]


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_a_provider_that_is_not_there_is_an_error(model: bytes, name: str) -> None:
    if name not in _absent():
        pytest.skip(f"{name} is in this build of onnxruntime")
    with pytest.raises(ProviderError, match=f"{PROVIDERS[name]}.*(install|holds it)"):
        Engine(model, provider=name)


def test_unknown_provider(model: bytes) -> None:
    with pytest.raises(ProviderError, match="unknown provider 'quantum'"):
        Engine(model, provider="quantum")


def test_auto_says_what_it_could_not_use(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that lists CUDA but cannot start it: onnxruntime itself would only warn."""
    ort = onnxruntime_module()
    listed = [PROVIDERS[name] for name in AUTO_ORDER]
    monkeypatch.setattr(ort, "get_available_providers", lambda: listed)
    engine = Engine(model)
    assert engine.execution_provider == "CPUExecutionProvider"
    assert [failure.split()[1] for failure in engine.fallbacks] == ["cuda", "directml"]
    with pytest.raises(ProviderError, match="cuda"):
        Engine(model, provider="cuda")


def test_a_provider_that_fails_does_not_turn_into_another(
    model: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The Python wrapper of onnxruntime would print, switch to the CPU and go on."""
    ort = onnxruntime_module()
    engine = Engine(model, provider="cpu")

    class Failing:
        def run(self, *_: object) -> None:
            raise ort.capi.onnxruntime_pybind11_state.EPFail

    monkeypatch.setattr(engine._session, "_sess", Failing())  # noqa: SLF001 - the wrapper under test is onnxruntime's
    with pytest.raises(ModelError, match="inference failed"):
        engine.run({"image": np.zeros((1, 224, 224, 3), np.uint8)}, ("probabilities",))
    assert capfd.readouterr() == ("", "")


def test_session_options(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    ort = onnxruntime_module()
    asked: list[tuple[object, dict[str, object]]] = []

    def spy(_model: bytes, options: object, **rest: object) -> None:
        asked.append((options, rest))
        raise RuntimeError

    monkeypatch.setattr(ort, "InferenceSession", spy)
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(PROVIDERS.values()))
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    for name in ("cpu", "cuda"):
        with pytest.raises((ModelError, ProviderError)):
            Engine(model, provider=name, threads=3)
    for (options, rest), provider in zip(asked, ("CPUExecutionProvider", "CUDAExecutionProvider"), strict=True):
        assert rest == {"providers": [provider], "enable_fallback": 0}
        assert options.intra_op_num_threads == 3  # type: ignore[attr-defined]
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"  # type: ignore[attr-defined]
    entry = asked[1][0].get_session_config_entry("session.disable_cpu_ep_fallback")  # type: ignore[attr-defined]
    assert entry == "1"


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07"])
def test_what_is_no_model(content: bytes) -> None:
    with pytest.raises(ModelError, match="cannot load the model"):
        Engine(content, provider="cpu")


def test_wrong_tensor(model: bytes) -> None:
    with pytest.raises(ModelError, match="inference failed"):
        Engine(model, provider="cpu").run({"image": np.zeros((1, 10, 10, 3), np.uint8)}, ("probabilities",))


def test_damaged_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EnvironmentUnusable, match="does not load"):
        onnxruntime_module()


def test_threads_are_bounded() -> None:
    assert 1 <= available_threads() <= 4


def test_telemetry_is_off_before_the_first_import(tmp_path: Path) -> None:
    script = (
        "import os, sys; os.environ.pop('ORT_DISABLE_TELEMETRY', None)\n"
        "from cxr_edge.engine import onnxruntime_module\n"
        "class Spy:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Spy()); onnxruntime_module()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]
