"""What may stand in the texts of a contract, a recipe or an overlay: people see them, and files of lines hold them."""

from collections.abc import Iterator


def unprintable(value: object) -> Iterator[str]:
    """A fault for each text in nested dicts and lists, keys included, that holds control characters or line ends."""
    if isinstance(value, str) and not value.isprintable():
        yield f"{value[:100]!r} holds characters that a terminal would act on"
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from unprintable(key)
            yield from unprintable(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from unprintable(entry)
