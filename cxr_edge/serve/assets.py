"""The page's own files: read once, served from a table, so that no other path can be asked for."""

import hashlib
from dataclasses import dataclass
from importlib import resources

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


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: what it is, and a tag that changes with its content."""

    content: bytes
    media_type: str
    etag: str


def read_assets() -> dict[str, Asset]:
    """All files of `cxr_edge/serve/assets` of a known type, by name; folders are not looked into."""
    assets = {}
    for file in resources.files("cxr_edge.serve").joinpath("assets").iterdir():
        media_type = TYPES.get("." + file.name.rpartition(".")[2])
        if media_type is not None and file.is_file():
            content = file.read_bytes()
            assets[file.name] = Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return assets
