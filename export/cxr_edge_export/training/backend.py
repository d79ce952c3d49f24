"""Keras, imported once with the backend that was asked for, quietly, and made repeatable."""

import os
import sys
from typing import Any, Literal, get_args

from cxr_edge.errors import EnvironmentUnusable, UsageError
from cxr_edge_export.quiet import without_banner

Backend = Literal["tensorflow", "torch", "jax"]


def keras_module(backend: Backend | None = None) -> Any:  # noqa: ANN401 - Keras has no types
    """Keras on a backend.

    Args:
        backend: None: the one that is loaded already, else the environment's, else TensorFlow.

    Raises:
        UsageError: Keras runs on another backend already.
        EnvironmentUnusable: the backend is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if backend is not None and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    try:
        with without_banner("keras"):
            import keras
    except (ImportError, ValueError) as error:  # ValueError: a name that Keras does not know
        message = f"Keras cannot use the backend {backend or os.environ.get('KERAS_BACKEND', 'tensorflow')}: {error}"
        raise EnvironmentUnusable(message) from None
    # whatever keras.json in the user's home says: a network is what its recipe makes it
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    if backend is not None and keras.backend.backend() != backend:
        message = f"Keras runs on {keras.backend.backend()} in this process; {backend} was asked for"
        raise UsageError(message)
    return keras


def make_repeatable(seed: int) -> None:
    """Seed everything that draws, and have the backend add in the same order every time."""
    keras = keras_module()
    with without_banner("tensorflow"):  # imported by the next line on every backend, to be seeded
        keras.utils.set_random_seed(seed)
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_op_determinism()
        case "torch":
            import torch

            torch.use_deterministic_algorithms(mode=True, warn_only=True)
            # nothing reads such memory, and a step in seventeen went there
            torch.utils.deterministic.fill_uninitialized_memory = False
        case _:
            pass  # XLA on CPUs is


def reseed(*numbers: int) -> None:
    """Have what draws from the backend's own generator, which no checkpoint holds, draw by these numbers from now."""
    if keras_module().backend.backend() == "torch":  # Keras' dropout on torch; elsewhere its seeds are variables
        import numpy as np
        import torch

        torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))


def backend_named(name: str) -> Backend:
    """A backend by its name.

    Raises:
        UsageError: there is none of that name.
    """
    for known in get_args(Backend):
        if known == name:
            return known  # type: ignore[no-any-return]
    message = f"unknown backend {name!r}; known: {', '.join(get_args(Backend))}"
    raise UsageError(message)


def describe_backend() -> str:
    """Names and versions of Keras and of what it runs on, for records."""
    keras = keras_module()
    name = keras.backend.backend()
    module = __import__(name)
    return f"keras {keras.__version__} on {name} {module.__version__}"
