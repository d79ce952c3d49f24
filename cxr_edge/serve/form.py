"""A multipart form, parsed as it comes: the files of one field, in memory. Starlette's own would go to the disk."""

from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cxr_edge.serve.problem import ProblemError

FIELD = b"file"
MOST_OTHER_PARTS = 20  # other fields; they are ignored
MOST_NAME_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """One file: its name as the client gave it (empty: none), for the answer alone, and its content."""

    name: str
    content: bytes


class Form:
    """Takes the body of one request in pieces of any size."""

    def __init__(self, content_type: str, most_files: int) -> None:
        """Begin a form.

        Args:
            content_type: the request's, with the boundary.
            most_files: in the field `file`.

        Raises:
            ProblemError: 400, no boundary.
        """
        _, options = parse_options_header(content_type)
        self._most_files = most_files
        self._uploads: list[Upload] = []
        self._parts, self._has_ended = 0, False
        self._header_name, self._header_value, self._disposition = bytearray(), bytearray(), b""
        self._name: str | None = None  # of the file that is coming; None: a part that is ignored
        self._content = bytearray()
        self._callbacks = {
            name: getattr(self, f"_{name}")
            for name in (
                "on_part_begin", "on_part_data", "on_part_end", "on_header_field", "on_header_value", "on_header_end",
                "on_headers_finished", "on_end",
            )
        }  # fmt: skip
        try:
            self._parser = MultipartParser(options[b"boundary"], self._callbacks)  # type: ignore[arg-type]
        except (KeyError, FormParserError):
            message = "the multipart form has no boundary"
            raise _malformed(message) from None

    def feed(self, piece: bytes) -> None:
        """Take a piece.

        Raises:
            ProblemError: 400 or 413.
        """
        try:
            self._parser.write(piece)
        except FormParserError:
            message = "the multipart form cannot be parsed"
            raise _malformed(message) from None

    def finish(self) -> list[Upload]:
        """The files, in order, after the last piece.

        Raises:
            ProblemError: 400, the form ends early or holds no file.
        """
        if not self._has_ended:
            message = "the multipart form ends early"
            raise _malformed(message)
        if not self._uploads:
            raise ProblemError(400, "no_file", "the form holds no file; need one or several fields named file")
        return self._uploads

    def close(self) -> None:
        """Let go of everything: form and parser know each other, and a garbage collector would come much later."""
        self._callbacks.clear()
        self._uploads, self._content = [], bytearray()

    def _on_part_begin(self) -> None:
        self._name, self._disposition = None, b""
        self._parts += 1
        if self._parts > self._most_files + MOST_OTHER_PARTS:
            message = "the multipart form has too many parts"
            raise _malformed(message)

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD:
            return
        if len(self._uploads) == self._most_files:
            message = f"the form holds more than {self._most_files} files; send them in several requests"
            raise ProblemError(413, "too_many_files", message)
        self._name = _text(options.get(b"filename", b""))[:MOST_NAME_CHARACTERS]

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is not None:
            self._content += memoryview(data)[start:end]

    def _on_part_end(self) -> None:
        if self._name is not None:
            self._uploads.append(Upload(self._name, bytes(self._content)))
            self._content = bytearray()

    def _on_end(self) -> None:
        self._has_ended = True


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _malformed(message: str) -> ProblemError:
    return ProblemError(400, "malformed_form", message)
