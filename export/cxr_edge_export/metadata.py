"""What a CSV in the data folder tells of its images: patient and projection."""

import csv
import io
import re
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from cxr_edge.errors import UsageError
from cxr_edge.labelled import composed
from cxr_edge_export.image_files import is_file
from cxr_edge_export.patients import relative_to
from cxr_edge_export.recipe.training import MetadataColumns

if TYPE_CHECKING:
    from collections.abc import Iterator

SEPARATORS = ",;\t"  # as Excel writes it, by country


class Metadata:
    """What a CSV tells of files: by their path below the data folder, or by their name where that tells one row.

    A row of which the file is there by its path is no other file's of that name; one that goes by its name is one
    file's. Names are compared in Unicode's composed form.
    """

    def __init__(self, data: Path, name: str, names: MetadataColumns) -> None:
        """Read it.

        Raises:
            UsageError: unreadable, a column is absent or there twice, a line has other columns than the header, or a
                file stands there twice with different values.
        """
        self._data, self._file = data, data / name
        self._rows: dict[str, tuple[str, str]] = {}
        self._named: dict[str, dict[str, str]] = {}
        self._found_by_name: dict[str, set[str]] = {}
        try:
            self._read(io.StringIO(self._file.read_bytes().decode("utf-8-sig"), newline=""), names)
        except UnicodeDecodeError:
            message = f"the metadata {self._file} is no text in UTF-8: save it as such (Excel: CSV UTF-8)"
            raise UsageError(message) from None
        except (OSError, csv.Error) as error:
            message = f"the metadata {self._file} cannot be read: {error}"
            raise UsageError(message) from None

    def of(self, path: str) -> tuple[str, str | None]:
        """(patient, view), each empty where there is no such column; ("", None) of a file that is not listed.

        Raises:
            UsageError: only its name is listed, several times with different values, or once and other files have it.
        """
        path = composed(path)
        if path in self._rows:
            return self._rows[path]
        name = PurePosixPath(path).name
        named = self._named.get(name, {})
        listed = [one for one, written in named.items() if not self._is_there(one, written)]
        if not listed:
            return "", None
        several = self._found_by_name.setdefault(name, set())
        several.add(path)
        found = {self._rows[other] for other in listed}
        if len(found) > 1 or len(several) > len(listed):
            message = (
                f"{self._file} lists by its name alone what several files are called; its paths have to be those below "
                "the data folder"
            )
            raise UsageError(message)
        return found.pop()

    def _is_there(self, path: str, written: str) -> bool:
        forms = (path, written, unicodedata.normalize("NFD", path))
        return any(is_file(self._data / form) for form in forms)

    def _read(self, stream: io.StringIO, names: MetadataColumns) -> None:
        header, start = stream.readline(), 0
        said = re.match(r'"?sep=(.?)', header, re.IGNORECASE)  # Excel's line before the header
        if said:
            start, header = stream.tell(), stream.readline()
        stream.seek(start)
        separator = said[1] if said and said[1] in tuple(SEPARATORS) else max(SEPARATORS, key=header.count)
        self._take(csv.DictReader(stream, delimiter=separator, strict=True), names)

    def _take(self, reader: "csv.DictReader[str]", names: MetadataColumns) -> None:
        header = reader.fieldnames or ()
        columns = [name for name in (names.file, names.patient, names.view) if name is not None]
        if absent := [name for name in columns if name not in header]:
            message = (
                f"{self._file} has no column {', '.join(absent)} among the {len(header)} that its first line names"
            )
            raise UsageError(message)
        if twice := [name for name in columns if header.count(name) > 1]:
            message = f"{self._file} has the column {', '.join(twice)} twice"
            raise UsageError(message)
        for line, written, row in self._rows_of(reader, names):
            file = composed(written)
            if self._rows.setdefault(file, row) != row:
                message = f"{self._file}, line {line}: a file is listed twice, with different values"
                raise UsageError(message)
            self._named.setdefault(PurePosixPath(file).name, {})[file] = written

    def _rows_of(
        self, reader: "csv.DictReader[str]", names: MetadataColumns
    ) -> "Iterator[tuple[int, str, tuple[str, str]]]":
        """(line, path as seen from the data folder, (patient, view))."""
        for row in reader:
            # as where a comma is not quoted: what follows it stands in the wrong columns
            if None in row or None in row.values():
                columns = len(reader.fieldnames or ())
                message = f"{self._file}, line {reader.line_num}: more or fewer columns than the header's {columns}"
                raise UsageError(message)
            patient, view = (
                (row[name] or "").strip() if name is not None else "" for name in (names.patient, names.view)
            )
            path = PureWindowsPath((row[names.file] or "").strip()).as_posix()  # which knows both separators
            if Path(path).is_absolute():
                path = relative_to(Path(path), self._data)
            yield reader.line_num, path, (patient, view)
