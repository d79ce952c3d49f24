"""Finding a model and reading its bytes, checked against the SHA-256 that was released with it."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.errors import ModelError

DEFAULT_MODEL = "resnet50-binary"
MAX_BYTES = 2 << 30  # protobuf's own limit
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_DIGEST_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(.+)")  # PowerShell writes capitals


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model's bytes and where they came from.

    Attributes:
        path: the file.
        content: the bytes that were hashed; these, and not the file again, go to onnxruntime.
        sha256: of `content`.
        pinned: whether a released SHA-256 stood beside the file and agreed.
    """

    path: Path
    content: bytes
    sha256: str
    pinned: bool


def read_model(model: str | Path | None = None) -> ModelFile:
    """Read a model by name (one that travels with the package) or by path.

    Args:
        model: a name such as `resnet50-binary`, the path of an `.onnx` file, or None for the default model.

    Raises:
        ModelError: no such model, unreadable, external data, or a SHA-256 other than the released one.
    """
    path = _locate(model)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            message = f"the model {path} has {size:,} bytes; at most {MAX_BYTES:,} are read"
            raise ModelError(message)
        content = path.read_bytes()
    except OSError as error:
        message = f"the model {path} cannot be read: {error.strerror}"
        raise ModelError(message) from None
    if not content:
        message = f"the model {path} is empty"
        raise ModelError(message)
    digest = hashlib.sha256(content).hexdigest()
    pinned = _check_released(path, digest)
    if not pinned:  # what was released is known to be self-contained
        _refuse_external_data(content, path)
    return ModelFile(path=path, content=content, sha256=digest, pinned=pinned)


def packaged_models() -> dict[str, Path]:
    """Name -> file of the models that travel with the package."""
    return {path.parent.name: path for folder in _model_folders() for path in sorted(folder.glob("*/model.onnx"))}


def _model_folders() -> list[Path]:
    package = Path(__file__).resolve().parent
    folders = [package / "models"]
    if (package.parent / "pyproject.toml").is_file():  # a source checkout keeps them beside the package
        folders.append(package.parent / "models")
    return [folder for folder in folders if folder.is_dir()]


def _locate(model: str | Path | None) -> Path:
    name = DEFAULT_MODEL if model is None else str(model)
    if _NAME.fullmatch(name) and not name.endswith(".onnx") and not isinstance(model, Path):
        known = packaged_models()
        if name in known:
            return known[name]
        message = f"no model is named {name!r}; known: {', '.join(known) or 'none'}; a file needs the suffix .onnx"
        raise ModelError(message)
    path = Path(name)
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file may raise
        message = f"there is no model file {path}"
        raise ModelError(message)
    return path


def _check_released(path: Path, digest: str) -> bool:
    """Whether a released SHA-256 stands beside the file.

    Raises:
        ModelError: one that does not agree, or a `.sha256` that names none.
    """
    own = path.with_name(path.name + ".sha256")
    released = [found for listing in (own, path.with_name("SHA256SUMS")) for found in _digests(listing, path.name)]
    if own.is_file() and not released:
        message = f"the checksum file {own} names no SHA-256 of {path.name}"
        raise ModelError(message)
    for other in released:
        if other != digest:
            message = f"the model {path} has SHA-256 {digest}; released was {other}: it was altered or damaged"
            raise ModelError(message)
    return bool(released)


def _digests(listing: Path, name: str) -> list[str]:
    if not listing.is_file():
        return []
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()  # Windows editors write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        message = f"the checksum file {listing} cannot be read: {error}"
        raise ModelError(message) from None
    matches = [_DIGEST_LINE.fullmatch(line.strip()) for line in lines]
    return [match[1].lower() for match in matches if match and match[2] == name]


def _refuse_external_data(content: bytes, path: Path) -> None:
    # TensorProto.external_data is a list of key/value strings; the key "location" is a path (onnx#7040, onnx#7686)
    start = content.find(b"location")
    while start != -1:
        if re.search(rb"(?:\x0a|\x8a\x80*\x00)(?:\x08|\x88\x80*\x00)\Z", content[max(0, start - 12) : start]):
            message = f"the model {path} refers to external data; only self-contained files are run"
            raise ModelError(message)
        start = content.find(b"location", start + 1)
