"""How much of a training is done, for the time left: epochs, weighed by the pixels of their images."""

from cxr_edge_export.recipe import Augmentation, Recipe, Stage, TrainingPlan


def augmentation_of(plan: TrainingPlan, stage: Stage) -> Augmentation:
    """The stage's own, else that of the whole training."""
    return plan.augmentation if stage.augmentation is None else stage.augmentation


def keeps_features(recipe: Recipe, plan: TrainingPlan, stage: Stage) -> bool:
    """Whether a stage computes the backbone's feature maps once, as neither the backbone nor the images change."""
    frozen = recipe.network is not None and recipe.network.backbone is not None and stage.backbone_layers == 0
    return frozen and augmentation_of(plan, stage) == Augmentation()


def share_done(recipe: Recipe, plan: TrainingPlan, stage: int, epochs: float) -> float:
    """Share of the whole training.

    Args:
        recipe: its sizes and its backbone.
        plan: its stages.
        stage: the one at work, from 0.
        epochs: of that stage that are done, a part of one included.
    """
    weights = [_weight(recipe, plan, one) for one in plan.stages]
    before = sum(weights[:stage])
    return (before + weights[stage] * epochs / plan.stages[stage].epochs) / sum(weights)


def _weight(recipe: Recipe, plan: TrainingPlan, stage: Stage) -> float:
    # a head alone costs little beside the one pass that its feature maps took
    epochs = 1 if keeps_features(recipe, plan, stage) else stage.epochs
    side = stage.side
    return epochs * (recipe.member.input.height * recipe.member.input.width if side is None else side * side)
