"""The web page and the JSON API: one classifier behind HTTP, local by default (docs/explanation/security.md)."""
