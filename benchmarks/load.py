"""Whether the machine had anything else to do: a figure taken under load says little."""

import os


def describe_load() -> str:
    """The load averages of 1, 5 and 15 minutes, as `uptime` says them; `unknown` where there are none (Windows)."""
    if not hasattr(os, "getloadavg"):
        return "unknown"
    return " ".join(f"{figure:.2f}" for figure in os.getloadavg())
