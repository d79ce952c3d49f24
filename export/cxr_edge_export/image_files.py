"""Which files of a folder or of a list are images: told by suffix or content, before any is decoded."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cxr_edge.decode.sniff import sniff
from cxr_edge.errors import InputError, ModelError, UsageError
from cxr_edge.labelled import composed
from cxr_edge_export.patients import RASTERS
from cxr_edge_export.recipe import ClassRule

SUFFIXES = RASTERS | {".dcm"}
HEAD_BYTES = 4096  # which tell the format of a file with another name: a PACS exports DICOM without a suffix


def images_in(folder: Path, rules: Sequence[ClassRule], left_out: Counter[str] | None = None) -> list[Path]:
    """The images in the class folders, sorted: by their suffix, others by their content; nothing hidden.

    Args:
        folder: of the class folders.
        rules: which name these.
        left_out: counts the files that are not taken, and why.

    Raises:
        UsageError: it is no folder, has others than class folders, a link to a folder inside one, or a file that no
            list could name.
        ModelError: a file cannot be read.
    """
    if not folder.is_dir():
        message = f"{folder} is neither a folder nor a list file"
        raise UsageError(message)
    wanted = {composed(rule.folder or rule.label) for rule in rules}
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(set(map(composed, found))) < len(found):
        message = f"{folder} has sub-folders whose names differ in Unicode's form alone: leave one of each"
        raise UsageError(message)
    if not found or not set(map(composed, found)) <= wanted:
        message = f"{folder} has the sub-folders {found}; need one per class, out of {sorted(wanted)}"
        raise UsageError(message)
    paths = [path for name in found for path in sorted((folder / name).rglob("*"))]
    shown = [path for path in paths if not any(p.startswith(".") for p in path.relative_to(folder).parts)]
    if linked := next((path for path in shown if path.is_symlink() and path.is_dir()), None):
        message = (
            f"in the folder {linked.relative_to(folder).parts[0]!r} a link leads to a folder: links are not followed"
        )
        raise UsageError(message)
    shown = [path for path in shown if not path.is_dir()]
    for path in shown:
        first, *deeper = path.relative_to(folder).parts[:-1]
        if other := next((name for name in deeper if composed(name) in wanted and name != first), None):
            message = f"the folder {first!r} of {folder} holds a folder {other!r}: which class is meant?"
            raise UsageError(message)
    images = [path for path in shown if _is_image(path, path.relative_to(folder))]
    if left_out is not None:
        beside = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
        outside, others = sum(path.is_file() for path in beside), len(shown) - len(images)
        counts = {"in no class folder": outside, "that are no images, or copies by their names": others}
        left_out.update({why: count for why, count in counts.items() if count})
    return images


def _is_image(path: Path, below: Path) -> bool:
    """Whether a file of a class folder is one; refuses what could be named in no list, and links to nothing."""
    where = f"in the folder {below.parts[0]!r}"
    if not path.is_file():
        message = f"{where} a link leads nowhere, or to no file"
        raise UsageError(message)
    try:
        if path.suffix.strip().lower() not in SUFFIXES and not _is_known_by_content(path):
            return False
    except OSError as error:
        message = f"{where} a file cannot be read: {reason_of(error)}"
        raise ModelError(message) from None
    text = str(below)
    if text != text.strip() or len(text.splitlines()) != 1 or any("\ud800" <= letter <= "\udfff" for letter in text):
        message = f"{where} a file's name holds a line break, ends in a space or is no UTF-8; no list could name it"
        raise UsageError(message)
    return True


def _is_known_by_content(path: Path) -> bool:
    """DICOM or a picture, but for copies that editors and people leave: x.jpeg.bak, x.jpeg~."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    try:
        sniff(head)
    except InputError:
        return False
    before = {suffix.lower() for suffix in path.suffixes[:-1]} | {path.suffix.lower().rstrip("~")}
    return not before & SUFFIXES


def refuse_inside(output: Path, data: Path) -> None:
    """Refuse to write into a data folder: what is written there, curves among it, would be images the next time.

    Raises:
        UsageError: so.
    """
    if output.resolve().is_relative_to(data.resolve()):
        message = f"{output} lies in the data folder {data}: its pictures would be taken for radiographs"
        raise UsageError(message)


def is_file(path: Path) -> bool:
    """Whether it is one; not where the system takes no such name, as of 5,000 letters."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def images_listed(listing: Path, root: Path | None) -> list[Path]:
    """The files that a list names, one a line.

    Args:
        listing: text; a line that begins with # is none.
        root: entries may be relative to it, to any folder above it, or to the list's own.

    Raises:
        UsageError: it cannot be read, or names what is not there.
    """
    try:
        lines = [line.strip() for line in listing.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        message = f"the list {listing} cannot be read: {error}"
        raise UsageError(message) from None
    entries = [Path(line) for line in lines if line and not line.startswith("#")]
    if not entries:
        message = f"the list {listing} names no file"
        raise UsageError(message)
    bases = [listing.resolve().parent]
    if root is not None:
        resolved = root.resolve()
        bases += [resolved, *resolved.parents]
    first = next((entry for entry in entries if not entry.is_absolute()), None)  # of others any base will do
    base = next((base for base in bases if first is None or is_file(base / first)), None)
    if base is None:
        above = "" if root is None else f" or from any folder above {root}"
        message = f"the first entry of {listing} is not there, seen from its folder{above}"
        raise UsageError(message)
    paths = [base / entry for entry in entries]
    if (twice := len(paths) - len({os.path.normpath(path) for path in paths})) > 0:
        message = f"{twice} of the {len(paths)} entries of {listing} name a file that an entry before names, too"
        raise UsageError(message)
    missing = sum(not is_file(path) for path in paths)
    if missing:
        message = f"{missing} of the {len(paths)} files in {listing} are not there"
        raise UsageError(message)
    return paths


def reason_of(error: OSError) -> str:
    """Why a file cannot be read, without its name, which may be a patient's."""
    return error.strerror or type(error).__name__
