"""Whether a model decides on this machine as it did where it was exported."""
