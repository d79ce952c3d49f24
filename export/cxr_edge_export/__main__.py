"""`python -m cxr_edge_export`."""

from cxr_edge_export.cli import main

main()
