"""A whole recipe: what a person decides about a model, as one TOML file."""

from typing import Annotated, Literal

from msgspec import Meta

from cxr_edge.contract import Contrast, IntendedUse, Limits, Member, Normalization, Rendering, Resize, TrainingData
from cxr_edge.contract import Input as ContractInput
from cxr_edge.contract.image_gate import Name
from cxr_edge.errors import UsageError
from cxr_edge_export.recipe.network import NetworkPlan
from cxr_edge_export.recipe.tables import (
    GoldenPlan,
    ImageGatePlan,
    Input,
    LabelledData,
    MemberPlan,
    Model,
    OperatingPointRule,
    QuantizationPlan,
    Strict,
)
from cxr_edge_export.recipe.training import ClassRule, Selection, TrainingPlan


class Recipe(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole recipe. `labels` in the order of the network's outputs.

    `network` and `training` are absent where the network was trained elsewhere. `input`, `resize` and `normalization`
    are of a single network, as is `contrast` where it has one; an ensemble has `members` in their place.

    Attributes:
        temperature: of score calibration, softmax(log p / temperature); absent: as trained.
    """

    recipe_version: Literal[1]
    labels: Annotated[tuple[Name, ...], Meta(min_length=2)]
    positive_labels: Annotated[tuple[Name, ...], Meta(min_length=1)]
    default_operating_point: Name
    temperature: Annotated[float, Meta(ge=0.01, le=100)] | None = None
    model: Model
    training_data: TrainingData
    data: LabelledData
    rendering: Rendering
    input: Input | None = None
    resize: Resize | None = None
    normalization: Normalization | None = None
    contrast: Contrast | None = None
    members: tuple[MemberPlan, ...] = ()
    operating_points: Annotated[tuple[OperatingPointRule, ...], Meta(min_length=1)]
    intended_use: IntendedUse
    quantization: QuantizationPlan
    golden: GoldenPlan
    image_gate: ImageGatePlan | None = None
    limits: Limits = Limits()
    selection: Selection = Selection()
    network: NetworkPlan | None = None
    training: TrainingPlan | None = None

    @property
    def classes(self) -> tuple[ClassRule, ...]:
        """Where the images of each label lie; several rules may give one label."""
        return self.selection.classes or tuple(ClassRule(label=label) for label in self.labels)

    @property
    def contract_members(self) -> tuple[Member, ...]:
        """The networks of the model, as the contract describes them: one, or an ensemble's."""
        if self.members:
            return tuple(_member(m.name, m.input, m.resize, m.normalization, m.contrast) for m in self.members)
        if self.input is None or self.resize is None or self.normalization is None:
            message = f"the recipe {self.model.name} has neither input, resize and normalization nor members"
            raise UsageError(message)
        return (_member(self.model.name, self.input, self.resize, self.normalization, self.contrast),)

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the members' probabilities in the model's, in the order of `contract_members`; they sum to 1."""
        given = [member.weight for member in self.members] or [1.0]
        return tuple(weight / sum(given) for weight in given)

    @property
    def member(self) -> Member:
        """The one network of the model, as the contract describes it.

        Raises:
            UsageError: it is an ensemble.
        """
        if self.members:
            message = f"the recipe {self.model.name} is of an ensemble; this needs the recipe of a single network"
            raise UsageError(message)
        return self.contract_members[0]


def _member(name: str, given: Input, resize: Resize, normalization: Normalization, contrast: Contrast | None) -> Member:
    # tf-bilinear gives fractions of gray levels; every other kernel gives whole ones
    dtype: Literal["uint8", "float32"] = "float32" if resize.kernel == "tf-bilinear" else "uint8"
    tensor = ContractInput(
        name=given.name, dtype=dtype, height=given.height, width=given.width, channels=given.channels
    )
    return Member(name=name, input=tensor, resize=resize, normalization=normalization, contrast=contrast)
