"""The Keras original that an exported file is held against: one network, or the weighted mean of several."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_edge.contract import Member
from cxr_edge.errors import UsageError
from cxr_edge_export.keras_model import SourceModel, load_model
from cxr_edge_export.onnx_float import keras_probabilities
from cxr_edge_export.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray


def joint_sha256(digests: Sequence[str]) -> str:
    """Of one file its own; of several, over their digests in order, a line each."""
    lines = "".join(f"{digest}\n" for digest in digests)
    return digests[0] if len(digests) == 1 else hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Original:
    """What was trained.

    Attributes:
        networks: one per member.
        members: what each is fed with.
        weights: of each in the mean of their probabilities; they sum to 1.
    """

    networks: tuple[SourceModel, ...]
    members: tuple[Member, ...]
    weights: tuple[float, ...]

    def probabilities(self, tensors: "Mapping[str, NDArray[Any]]") -> "NDArray[np.float32]":
        """What it gives for input tensors as the contract describes them.

        Args:
            tensors: by input name, each [N, H, W, C] of the contract's dtype, before normalization.

        Returns:
            float32 [N, labels], summing to 1.

        Raises:
            ModelError: a network gives something other than probabilities.
        """
        parts = [
            keras_probabilities(network, tensors[member.input.name], member)
            for network, member in zip(self.networks, self.members, strict=True)
        ]
        mean = np.average(np.asarray(parts, np.float64), axis=0, weights=self.weights)
        return np.minimum(mean, 1).astype(np.float32)  # the weights' own rounding

    @property
    def sha256(self) -> str:
        """As `joint_sha256`."""
        return joint_sha256([network.sha256 for network in self.networks])

    @property
    def framework(self) -> str:
        """What computes it, for the certificate; of an ensemble, the formula too."""
        frameworks = " and ".join(dict.fromkeys(network.framework for network in self.networks))
        if len(self.networks) == 1:
            return frameworks
        terms = " + ".join(f"{weight:.4g} {m.name}" for weight, m in zip(self.weights, self.members, strict=True))
        return f"{terms}, each by {frameworks}"


def load_original(models: Sequence[Path], recipe: Recipe) -> Original:
    """Load the networks that a recipe describes, in its order.

    Args:
        models: a Keras file or SavedModel folder per member.
        recipe: how they are fed and weighted.

    Raises:
        UsageError: there are not as many files as members.
        ModelError: one of them cannot be loaded.
    """
    members = recipe.contract_members
    if len(models) != len(members):
        names = ", ".join(member.name for member in members)
        message = f"models given: {len(models)}; the recipe needs {len(members)}: {names}"
        raise UsageError(message)
    return Original(tuple(load_model(path) for path in models), members, recipe.weights)
