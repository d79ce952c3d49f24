"""What a model's answers depend on besides the image: if one of these changes, the self-test runs again."""

import platform

from cxr_edge._version import __version__
from cxr_edge.processors import cpu_flags, cpu_name


def fingerprint(model_sha256: str, execution_provider: str) -> dict[str, str]:
    """The combination that a self-test speaks of.

    Args:
        model_sha256: of the file.
        execution_provider: onnxruntime's name of the one that runs.
    """
    import numpy as np
    import PIL

    from cxr_edge.engine import onnxruntime_module

    return {
        "model_sha256": model_sha256,
        "execution_provider": execution_provider,
        "cpu": cpu_name(),
        "cpu_flags": " ".join(cpu_flags()),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "onnxruntime": str(onnxruntime_module().__version__),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "cxr_edge": __version__,
    }
