"""Results as rows: one JSON schema for every surface."""

from cxr_edge.results.rows import ROW_SCHEMA_VERSION, Row, to_row
from cxr_edge.results.studies import StudyCollector
from cxr_edge.results.writers import FORMATS, Format, RowWriter, open_writer

__all__ = ["FORMATS", "ROW_SCHEMA_VERSION", "Format", "Row", "RowWriter", "StudyCollector", "open_writer", "to_row"]
