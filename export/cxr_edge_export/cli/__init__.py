"""The command line of the workbench: parse, call, print, exit code. The only part of this package that prints."""

from cxr_edge_export.cli import exporting as exporting
from cxr_edge_export.cli import training as training
from cxr_edge_export.cli.app import app, main, run

__all__ = ["app", "main", "run"]
