"""The optional parts of the package: what each needs, and what to say where it is not installed."""

import importlib.util
from typing import Final, Literal

Extra = Literal["report", "serve"]

MODULES: Final[dict[Extra, tuple[str, ...]]] = {
    "report": ("arabic_reshaper", "reportlab"),
    "serve": ("starlette", "uvicorn", "python_multipart", "arabic_reshaper", "reportlab"),
}


def missing_modules(extra: Extra) -> list[str]:
    """What an optional part needs and does not find; empty where it can be used."""
    return [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]


def how_to_install(extra: Extra) -> str:
    """The end of an error message: what to type, with the repository or with a folder of wheels at hand."""
    return f'pip install ".[{extra}]" in the repository, or "cxr-edge[{extra}]" from your wheelhouse'
