"""Watching a folder: every file that arrives is classified, exactly once in effect, unattended."""
