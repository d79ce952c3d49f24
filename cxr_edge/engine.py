"""The only file that imports onnxruntime: one session, on the provider that was asked for, on bounded threads."""

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr_edge.errors import EnvironmentUnusable, ModelError, ProviderError
from cxr_edge.processors import available_threads

if TYPE_CHECKING:
    from types import ModuleType

    import onnxruntime
    from numpy.typing import NDArray

PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
_INSTEAD = "pip uninstall -y onnxruntime, then pip install "
BUILDS: Mapping[str, str] = {
    "cuda": _INSTEAD + "'onnxruntime-gpu[cuda,cudnn]'",
    "tensorrt": _INSTEAD + "'onnxruntime-gpu[cuda,cudnn]' tensorrt",
    "openvino": _INSTEAD + "onnxruntime-openvino",
    "directml": _INSTEAD + "onnxruntime-directml (Windows)",
    "coreml": "the ordinary onnxruntime on macOS holds it",
}
WHEELS = (
    "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-rocm",
    "onnxruntime-silicon", "onnxruntime-training", "ort-nightly", "ort-nightly-gpu",
)  # fmt: skip
TensorInfo = tuple[str, tuple[int | str | None, ...]]  # onnxruntime's type, shape; a free axis is a name or None
AUTO_ORDER = ("cuda", "directml", "cpu")  # TensorRT builds engines for minutes: only when asked for by name


def onnxruntime_module() -> "ModuleType":
    """The onnxruntime module, imported with its telemetry off.

    Raises:
        EnvironmentUnusable: it is not installed, or its library does not load.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read at import (onnxruntime#27379)
    try:
        import onnxruntime
    except Exception as error:  # noqa: BLE001 - a broken library raises more than ImportError
        message = f"onnxruntime does not load: {_first_line(error)}"
        raise EnvironmentUnusable(message) from None
    if not hasattr(onnxruntime, "InferenceSession"):
        message = "onnxruntime is damaged (no InferenceSession): two of its wheels overwrote each other"
        raise EnvironmentUnusable(message)
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(4)  # its C++ side would print; failures come as exceptions
    return onnxruntime


def preload() -> None:
    """Import onnxruntime ahead of its use; what goes wrong here speaks up at that use."""
    with contextlib.suppress(Exception):
        onnxruntime_module()


def clashing_builds() -> str | None:
    """What is wrong when several builds of onnxruntime are installed: they overwrite each other's files.

    Raises:
        EnvironmentUnusable: onnxruntime does not load.
    """
    # builds that overwrite each other lie in one folder; importlib.metadata would cost every start 15 ms
    site = Path(str(onnxruntime_module().__file__)).parent.parent
    names = [entry.name.removesuffix(".dist-info") for entry in site.iterdir() if entry.suffix == ".dist-info"]
    found = sorted(name for name in names if name.rpartition("-")[0].lower().replace("_", "-") in WHEELS)
    if len(found) <= 1:
        return None
    listed = ", ".join(found)
    return f"several builds of onnxruntime overwrite each other: {listed}; uninstall all of them, then install one"


class Engine:
    """One loaded graph. Safe to call from several threads.

    Attributes:
        execution_provider: onnxruntime's name of the provider that really runs.
        metadata: the model's `metadata_props`.
        fallbacks: why `auto` could not use an accelerator that this build holds; empty when nothing failed.
        threads: intra-operator threads.
        inputs, outputs: name -> (onnxruntime's type, shape); a free axis is a string or None.
    """

    def __init__(
        self,
        model: bytes,
        *,
        provider: str = "auto",
        threads: int | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """Create the session.

        Args:
            model: the bytes of an `.onnx` file.
            provider: `auto`, or a key of `PROVIDERS`: that one or an error.
            threads: intra-operator threads; None for `available_threads()`.
            meanwhile: done in a thread while the session is created, which leaves the interpreter free.

        Raises:
            ProviderError: the provider is unknown, not in this build of onnxruntime, or does not start.
            ModelError: onnxruntime cannot load the graph.
            EnvironmentUnusable: onnxruntime cannot be imported.
        """
        ort = onnxruntime_module()
        if meanwhile is not None:
            threading.Thread(target=meanwhile, name="cxr-edge-meanwhile").start()
        self.threads = threads or available_threads()
        self.fallbacks: tuple[str, ...] = ()
        names = AUTO_ORDER if provider == "auto" else (provider,)
        present = ort.get_available_providers()
        for name in names:
            if provider == "auto" and PROVIDERS[name] not in present:
                continue
            try:
                self._session = _session(ort, model, name, self.threads)
                break
            except ProviderError as error:
                if provider != "auto":
                    raise
                self.fallbacks += (str(error),)
        self.execution_provider: str = self._session.get_providers()[0]
        try:
            self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError:
            message = "the model's metadata are not UTF-8"
            raise ModelError(message) from None
        self.inputs = _describe(self._session.get_inputs())
        self.outputs = _describe(self._session.get_outputs())

    def run(
        self, tensors: "Mapping[str, NDArray[np.generic]]", outputs: tuple[str, ...]
    ) -> "list[NDArray[np.float32]]":
        """Run the graph once.

        Args:
            tensors: input name -> [N, H, W, C], of the dtype the contract names.
            outputs: names of the outputs wanted.

        Returns:
            The outputs in that order.

        Raises:
            ModelError: onnxruntime refuses the tensors or fails while running.
        """
        try:
            return [np.asarray(output, np.float32) for output in self._session.run(outputs, dict(tensors))]
        except Exception as error:  # onnxruntime raises a family of pybind exceptions without a common base
            message = f"inference failed on {self.execution_provider}: {_first_line(error)}"
            raise ModelError(message) from error


def _session(ort: "ModuleType", model: bytes, name: str, threads: int) -> "onnxruntime.InferenceSession":
    if name not in PROVIDERS:
        message = f"unknown provider {name!r}; known: auto, {', '.join(PROVIDERS)}"
        raise ProviderError(message)
    wanted, present = PROVIDERS[name], ort.get_available_providers()
    if wanted not in present:
        message = (
            f"provider {name} needs {wanted}, which this build of onnxruntime {ort.__version__} does not hold "
            f"(it holds {', '.join(present)}); {BUILDS.get(name, 'reinstall onnxruntime')}"
        )
        raise ProviderError(message)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # a spinning thread eats the CPU of the viewer, and of the next images' decoders: it would cost a folder a third
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if name != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")  # else a mere warning
    try:
        if name in ("cuda", "tensorrt"):
            ort.preload_dlls()  # pip's nvidia packages are not on the loader's path
        # enable_fallback: else the Python wrapper prints, turns to the CPU and tells nobody
        session: onnxruntime.InferenceSession = ort.InferenceSession(
            model, options, providers=[wanted], enable_fallback=0
        )
    except Exception as error:
        if name != "cpu":
            message = f"provider {name} does not start: {_first_line(error)}"
            raise ProviderError(message) from error
        message = f"onnxruntime {ort.__version__} cannot load the model: {_first_line(error)}"
        raise ModelError(message) from error
    if session.get_providers()[0] != wanted:
        message = f"provider {name} was asked for, but onnxruntime took {session.get_providers()[0]}"
        raise ProviderError(message)
    return session


def _describe(values: "Sequence[onnxruntime.NodeArg]") -> dict[str, TensorInfo]:
    return {value.name: (value.type, tuple(value.shape)) for value in values}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
