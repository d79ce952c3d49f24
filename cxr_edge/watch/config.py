"""Settings from a TOML file and the command line; what is said on the command line wins."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta

from cxr_edge.errors import UsageError
from cxr_edge.types import GateMode
from cxr_edge.watch.settings import Order, Provider, Settings

MAX_BYTES = 32 * 1024
MAX_SHOWN = 60  # characters of a wrong value in an error

Text = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]  # no path has a NUL
Folder = Text


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a file with the values they take; `after` and `log` are tables. None: not said."""

    inbox: Folder | None = None
    results: Folder | None = None
    state: Folder | None = None
    poll_interval_s: Annotated[float, Meta(ge=0.1, le=60)] | None = None
    settle_s: Annotated[float, Meta(ge=0, le=3600)] | None = None
    incomplete_after_s: Annotated[float, Meta(ge=1, le=604_800)] | None = None
    study_timeout_s: Annotated[float, Meta(ge=1, le=604_800)] | None = None
    order: Order | None = None
    nice: bool | None = None
    heatmap: bool | None = None
    heatmap_label: Text | None = None
    identifiers: bool | None = None
    gate: GateMode | None = None
    model: Text | None = None
    operating_point: Text | None = None
    provider: Provider | None = None
    threads: Annotated[int, Meta(ge=1, le=256)] | None = None


class _After(msgspec.Struct, frozen=True, kw_only=True):
    done: Folder | None = None
    rejected: Folder | None = None


class _Log(msgspec.Struct, frozen=True, kw_only=True):
    file: Folder | None = None
    max_mb: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    keep: Annotated[int, Meta(ge=0, le=1_000)] | None = None


TABLES: dict[str, type[msgspec.Struct]] = {"after": _After, "log": _Log}
PATHS = frozenset({"inbox", "results", "state", "after_done", "after_rejected", "log_file"})
NAMES_OR_FILES = frozenset({"model", "operating_point"})  # a name, or a file: a path with a separator or a suffix


@dataclass(frozen=True, slots=True)
class _Given:
    """One value of the file: its place there, and the field of `Settings` it stands for."""

    path: tuple[str, ...]
    name: str
    value: object
    wanted: Any


def make_settings(config: Path | None, given: Mapping[str, object]) -> Settings:
    """Put the settings together.

    Args:
        config: a TOML file, or None.
        given: field of `Settings` -> value from the command line, checked there; None where nothing was said.

    Raises:
        UsageError: the file cannot be read or holds something wrong (with its line), or inbox or results are missing.
    """
    values: dict[str, Any] = {} if config is None else read_config(config)
    if given.get("heatmap") is False:
        values.pop("heatmap_label", None)  # of the maps that are not wanted after all
    values |= {name: value for name, value in given.items() if value is not None}
    for name, option in (("inbox", "INBOX"), ("results", "--results")):
        if name not in values:
            where = option if config is None else f"{option}, or {name!r} in {config}"
            message = f"no {name} was named; need {where}"
            raise UsageError(message)
    return Settings(**values)


def read_config(file: Path) -> dict[str, object]:
    """Read and check a TOML file: field of `Settings` -> value. Relative paths are relative to the file's folder.

    Raises:
        UsageError: unreadable, too long, not TOML, an unknown key, or a value of the wrong type or out of range; one
            line with file, line, key, what was found and what is needed.
    """
    text = _read(file)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{file} is not TOML: {error}"
        raise UsageError(message) from None
    except RecursionError:
        message = f"{file} is not a configuration: values are nested too deep"
        raise UsageError(message) from None
    values: dict[str, object] = {}
    for item in _items(raw, text, file):
        values[item.name] = _checked(item, text, file)
    return values


def _read(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"the configuration {file} cannot be read: {error.strerror}"
        raise UsageError(message) from None
    if len(content) > MAX_BYTES:
        message = f"the configuration {file} has more than {MAX_BYTES:,} bytes"
        raise UsageError(message)
    try:
        # editors on Windows write the mark and their line ends, which TOML knows
        return content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        message = f"{file}, line {line}: not UTF-8, which TOML needs"
        raise UsageError(message) from None


def _items(raw: Mapping[str, object], text: str, file: Path) -> list[_Given]:
    """Every key with what it may hold, in the file's order."""
    items: list[_Given] = []
    for key, value in raw.items():
        if key not in TABLES:
            items.append(_Given((key,), key, value, _type_of(_Keys, (key,), text, file)))
            continue
        if not isinstance(value, dict):
            message = f"{_where((key,), text, file)} is {_shown(value)}; need a table: [{key}]"
            raise UsageError(message)
        for inner, held in value.items():
            path = (key, inner)
            items.append(_Given(path, f"{key}_{inner}", held, _type_of(TABLES[key], path, text, file)))
    return items


def _type_of(table: type[msgspec.Struct], path: tuple[str, ...], text: str, file: Path) -> Any:  # noqa: ANN401 - a type
    known = {field.name: field.type for field in msgspec.structs.fields(table)}
    if path[-1] not in known:
        names = sorted(known) if table is not _Keys else sorted([*known, *TABLES])
        near = difflib.get_close_matches(path[-1], names, n=1)
        need = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
        message = f"{_where(path, text, file)} is unknown; {need}"
        raise UsageError(message)
    return known[path[-1]]


def _checked(item: _Given, text: str, file: Path) -> object:
    try:
        value = msgspec.convert(item.value, item.wanted)
    except msgspec.ValidationError:
        choices = [choice for kind in get_args(item.wanted) for choice in get_args(kind) if isinstance(choice, str)]
        need = f"need one of {', '.join(choices)}" if choices else _needed(item.wanted)
        message = f"{_where(item.path, text, file)} is {_shown(item.value)}; {need}"
        raise UsageError(message) from None
    if item.name in PATHS:
        return file.parent / value
    if item.name in NAMES_OR_FILES and ("/" in value or "\\" in value or Path(value).suffix in (".onnx", ".json")):
        return str(file.parent / value)
    return value


def _where(path: tuple[str, ...], text: str, file: Path) -> str:
    key = ".".join(path)
    return f"{file}, line {_line_of(path, text)}: {key if key.isprintable() else ascii(key)}"


def _line_of(path: tuple[str, ...], text: str) -> int:
    """The line on which a key stands: the first after the longest beginning of the file that has no such key.

    Beginnings that end inside a value are no TOML and are passed over; tomllib itself tells no lines of keys.
    """
    lines = text.replace("\r\n", "\n").split("\n")  # a carriage return alone ends no line of TOML
    without = 0
    for count in range(1, len(lines) + 1):
        try:
            node: object = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        for key in path:
            node = node.get(key, _ABSENT) if isinstance(node, dict) else _ABSENT
        if node is not _ABSENT:
            return without + 1
        without = count
    return without + 1


_ABSENT = object()


def _needed(wanted: Any) -> str:  # noqa: ANN401 - a type
    """What a key holds, in words."""
    kind, *limits = get_args(get_args(wanted)[0]) or (get_args(wanted)[0],)
    if kind is bool:
        return "need true or false"
    if kind is str:
        return "need a text of 1 to 4,096 characters, none of them a control character"
    number = "a whole number" if kind is int else "a number"
    return f"need {number} from {limits[0].ge:,} to {limits[0].le:,}"


def _shown(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
