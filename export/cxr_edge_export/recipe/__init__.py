"""The recipe: what a person decides about a model before it is trained and converted, as one TOML file."""

from cxr_edge_export.recipe.network import NetworkPlan
from cxr_edge_export.recipe.read import RecipeFile, parse_recipe, read_recipe
from cxr_edge_export.recipe.schema import Recipe
from cxr_edge_export.recipe.tables import (
    ImageGatePlan,
    LayoutPlan,
    MemberPlan,
    OperatingPointRule,
    OutOfDistributionPlan,
    QuantizationPlan,
)
from cxr_edge_export.recipe.training import Augmentation, ClassRule, Selection, Stage, TrainingPlan

__all__ = [
    "Augmentation",
    "ClassRule",
    "ImageGatePlan",
    "LayoutPlan",
    "MemberPlan",
    "NetworkPlan",
    "OperatingPointRule",
    "OutOfDistributionPlan",
    "QuantizationPlan",
    "Recipe",
    "RecipeFile",
    "Selection",
    "Stage",
    "TrainingPlan",
    "parse_recipe",
    "read_recipe",
]
