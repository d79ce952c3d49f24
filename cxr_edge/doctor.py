"""What this installation is made of, and whether it can run."""

import importlib
import importlib.metadata
import platform
import sys
from dataclasses import dataclass
from time import perf_counter

from cxr_edge._version import __version__
from cxr_edge.decode import available_codecs
from cxr_edge.engine import clashing_builds, onnxruntime_module
from cxr_edge.errors import CxrEdgeError, EnvironmentUnusable
from cxr_edge.extras import MODULES as EXTRA_MODULES
from cxr_edge.extras import Extra, how_to_install, missing_modules
from cxr_edge.isolation.child import Child, ChildFailedError
from cxr_edge.isolation.limits import NO_LIMIT, IsolationLimits
from cxr_edge.modelfile import packaged_models, read_model
from cxr_edge.preprocess import pillow_arithmetic_matches
from cxr_edge.processors import available_threads, cpu_flags

PACKAGES = (
    "onnxruntime", "numpy", "pillow", "pydicom", "imagecodecs", "opencv-python-headless", "msgspec",
)  # fmt: skip
MODULES = ("onnxruntime", "numpy", "PIL.Image", "pydicom", "imagecodecs", "msgspec", "cv2")
OPENCV_WHEELS = (
    "opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `problems` make the installation unusable; `warnings` do not."""

    facts: dict[str, dict[str, str]]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def examine() -> Report:
    """Look at versions, providers, CPU, codecs, models; never raises for what it finds."""
    problems, warnings = _clashes()
    _missing(problems)
    if problems:  # the rest would stumble over them
        return Report(facts=_versions(), problems=tuple(problems), warnings=tuple(warnings))
    facts = {
        **_versions(),
        "cpu": {"flags": " ".join(cpu_flags()) or "unknown", "threads by default": str(available_threads())},
        "providers": _providers(problems),
        "resize": _resize(warnings),
        "codecs": dict(available_codecs()),
        "isolation": _isolation(problems, warnings),
        "models": _models(problems),
        "extras": {str(extra): _state_of(extra) for extra in EXTRA_MODULES},
    }
    return Report(facts=facts, problems=tuple(problems), warnings=tuple(warnings))


def _versions() -> dict[str, dict[str, str]]:
    return {
        "cxr-edge": {
            "version": __version__,
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "executable bits": str(64 if sys.maxsize > 2**32 else 32),
        },
        "packages": {name: _installed(name) or "missing" for name in PACKAGES},
    }


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _clashes() -> tuple[list[str], list[str]]:
    problems: list[str] = []
    warnings: list[str] = []
    try:
        clash = clashing_builds()
    except CxrEdgeError as error:
        clash = str(error)
    if clash:
        problems.append(clash)
    opencvs = [f"{name} {version}" for name in OPENCV_WHEELS if (version := _installed(name))]
    if len(opencvs) > 1:
        warnings.append(f"several OpenCV wheels overwrite each other: {', '.join(opencvs)}")
    return problems, warnings


def _providers(problems: list[str]) -> dict[str, str]:
    try:
        ort = onnxruntime_module()
    except CxrEdgeError as error:
        problems.append(str(error))
        return {}
    return {"in this onnxruntime": ", ".join(ort.get_available_providers())}


def _missing(problems: list[str]) -> None:
    """Packages that must be there; pip's metadata alone would not show a broken one."""
    for module in MODULES:
        try:
            importlib.import_module(module)
        except ImportError as error:
            problems.append(f"{module} does not load: {error}")


def _resize(warnings: list[str]) -> dict[str, str]:
    if pillow_arithmetic_matches():
        return {"arithmetic": "the installed Pillow computes what the contract means"}
    warnings.append("the installed Pillow resizes differently; the package's own, slower arithmetic is used")
    return {"arithmetic": "own"}


def _isolation(problems: list[str], warnings: list[str]) -> dict[str, str]:
    """Whether a decoding process starts here, and whether the system limits its memory."""
    started = perf_counter()
    try:
        child = Child(IsolationLimits().memory_bytes)
        try:
            child.greet()
        finally:
            child.end()
    except (EnvironmentUnusable, ChildFailedError) as error:
        problems.append(f"no decoding process can be started: {error}")
        return {}
    if child.memory_limit.startswith(NO_LIMIT):
        warnings.append(f"the memory of decoding processes is not limited ({child.memory_limit})")
    return {"memory limit": child.memory_limit, "a process starts in": f"{perf_counter() - started:.2f} s"}


def _state_of(extra: Extra) -> str:
    missing = missing_modules(extra)
    return f"not installed ({', '.join(missing)} missing): {how_to_install(extra)}" if missing else "installed"


def _models(problems: list[str]) -> dict[str, str]:
    found = {}
    for name in packaged_models():
        try:
            model = read_model(name)
        except CxrEdgeError as error:
            problems.append(str(error))
            continue
        found[name] = f"sha256 {model.sha256}" + ("" if model.pinned else " (no released SHA-256 beside it)")
    if not found:
        problems.append("no usable model travels with this installation")
    return found
