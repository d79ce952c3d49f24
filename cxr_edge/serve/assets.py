"""The page's own files: read once, served from a table, so that no other path can be asked for."""

import hashlib
import json
from dataclasses import dataclass
from importlib import resources

from cxr_edge.report.words import LANGUAGES, words_of
from cxr_edge.serve.pictures import legend_png

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
INDEX = "index.html"
REPORT_WORDS, LEGEND = "report-words.js", "legend.png"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: what it is, and a tag that changes with its content."""

    content: bytes
    media_type: str
    etag: str


def read_assets() -> dict[str, Asset]:
    """All files of `cxr_edge/serve/assets` of a known type, by name, and what the page shares with the report."""
    folder = resources.files("cxr_edge.serve").joinpath("assets")
    contents = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    contents |= {REPORT_WORDS: _report_words(), LEGEND: legend_png()}
    return {name: _asset(content, _type(name)) for name, content in contents.items() if _type(name)}


def _report_words() -> bytes:
    """The report's words as a script, so that page and report say the same."""
    texts = {language: words_of(language).texts for language in LANGUAGES}
    return f"export const REPORT = {json.dumps(texts, ensure_ascii=False, indent=1)};\n".encode()


def _type(name: str) -> str:
    return TYPES.get("." + name.rpartition(".")[2], "")


def _asset(content: bytes, media_type: str) -> Asset:
    return Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
