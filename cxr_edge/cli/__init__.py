"""The command line: parse, call, print, exit code. The only part of the package that prints or exits."""

from cxr_edge.cli.app import main

__all__ = ["main"]
