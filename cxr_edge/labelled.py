"""Labelled images: a folder with one sub-folder per class, or a CSV; and whose they are."""

import csv
import hashlib
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.errors import UsageError

MAX_CSV_BYTES = 1 << 28
REQUIRED, OPTIONAL = ("path", "label"), ("patient",)
# Kermany et al. 2018: person1949_bacteria_4880.jpeg, IM-0117-0001.jpeg, NORMAL2-IM-0370-0001.jpeg; its third version at
# Mendeley: BACTERIA-1008087-0001.jpeg
_GUANGZHOU_PATIENT = re.compile(
    r"(?:(person\d+)_(?:bacteria|virus)_|((?:NORMAL\d*-)?IM-\d+)-\d|(?:BACTERIA|NORMAL|VIRUS)-(\d+)-\d)"
    r".*\.(?i:bmp|jpe?g|png|tiff?|webp)"
)


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One file with what somebody says it shows.

    Attributes:
        path: the file.
        label: one of the contract's.
        patient: an identifier within its data set; None where nothing tells.
    """

    path: str
    label: str
    patient: str | None


def patient_of(file_name: str, *, in_folder: bool = False) -> str | None:
    """The patient that a picture's name of the Guangzhou set's form tells; None for any other name, and for DICOM.

    Viewers write IM-0001-0001.dcm, where 0001 is the series; pictures, too, into a folder for each patient.

    Args:
        file_name: without its folder.
        in_folder: whether a folder in the class folder holds it, which tells more than IM-0001.
    """
    match = _GUANGZHOU_PATIENT.fullmatch(file_name)
    if match is None or (in_folder and file_name.startswith("IM-")):
        return None
    found: str = next(filter(None, match.groups()))
    return found


def set_sha256(digests: Iterable[str]) -> str:
    """SHA-256 over the sorted SHA-256 of the files: which images, whatever their names and order."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def composed(name: str) -> str:
    """A name in Unicode's composed form: macOS and some archives decompose accents, which look the same."""
    return unicodedata.normalize("NFC", name)


def class_folders(folder: Path, labels: Sequence[str]) -> dict[str, str]:
    """Label -> path of its sub-folder, in the order of `labels`; classes without one are left out.

    Raises:
        UsageError: the folder cannot be read, a sub-folder is named like no class, or there is none.
    """
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
            found = {composed(entry.name): entry.path for entry in shown}
    except OSError as error:
        message = f"{folder} cannot be read: {error.strerror}"
        raise UsageError(message) from None
    if len(found) < len(shown):
        message = f"{folder} has sub-folders whose names differ in Unicode's form alone: leave one of each"
        raise UsageError(message)
    if not found or not set(found) <= set(map(composed, labels)):
        there = ", ".join(sorted(found)) or "none"
        message = f"{folder} has the sub-folders {there}; need one for each class of the model: {', '.join(labels)}"
        raise UsageError(message)
    return {label: found[composed(label)] for label in labels if composed(label) in found}


def read_csv(file: Path, labels: Sequence[str]) -> tuple[LabelledImage, ...]:
    """The images that a CSV lists: a header, columns `path`, `label` and perhaps `patient`, in any order.

    UTF-8 with or without a byte order mark; separated by comma, semicolon or tab. Paths are relative to the CSV's own
    folder.

    Raises:
        UsageError: unreadable, another column, an unknown label, a path that is missing or listed twice; the message
            names the line.
    """
    rows = _rows(file)
    header = [name.strip().lower() for name in next(rows, (0, [""]))[1]]
    if not set(REQUIRED) <= set(header) <= {*REQUIRED, *OPTIONAL} or len(set(header)) != len(header):
        message = f"{file} has the columns {', '.join(header)}; need path, label and perhaps patient"
        raise UsageError(message)
    images: list[LabelledImage] = []
    lines: dict[str, int] = {}
    for line, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            message = f"{file}, line {line}: {len(row)} columns; the header has {len(header)}"
            raise UsageError(message)
        image = _image(dict(zip(header, (cell.strip() for cell in row), strict=True)), file, line, labels)
        if (before := lines.setdefault(image.path, line)) != line:
            message = f"{file}, line {line}: the same path as line {before}; each image is listed once"
            raise UsageError(message)
        images.append(image)
    return tuple(images)


def _image(cells: dict[str, str], file: Path, line: int, labels: Sequence[str]) -> LabelledImage:
    label = next((label for label in labels if composed(label) == composed(cells["label"])), None)
    if label is None:
        message = f"{file}, line {line}: label {cells['label']!r}; the model's classes are {', '.join(labels)}"
        raise UsageError(message)
    if not cells["path"] or "\0" in cells["path"]:
        message = f"{file}, line {line}: no path"
        raise UsageError(message)
    path = os.path.normpath(file.parent / cells["path"])
    patient = cells.get("patient") if "patient" in cells else patient_of(Path(path).name)
    return LabelledImage(path=path, label=label, patient=patient or None)


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells); the separator is the one that the header uses."""
    try:
        if file.stat().st_size > MAX_CSV_BYTES:
            message = f"{file} has more than {MAX_CSV_BYTES:,} bytes"
            raise UsageError(message)
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise UsageError(message) from None
    except UnicodeDecodeError:
        message = f"{file} is neither a folder nor a CSV in UTF-8"
        raise UsageError(message) from None
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        message = f"{file}, line {reader.line_num}: {error}"
        raise UsageError(message) from None
