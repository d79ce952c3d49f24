"""How the network of a recipe is trained: on which images, in which stages, with which augmentation."""

from typing import Annotated, Literal

from msgspec import Meta

from cxr_edge.contract.image_gate import Name, Share
from cxr_edge.contract.schema import Size
from cxr_edge_export.recipe.tables import Count, Seed, Strict

Amount = Annotated[float, Meta(ge=0)]
Fraction = Annotated[float, Meta(ge=0, lt=1)]


class ClassRule(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which files are of one class.

    Attributes:
        label: one of the recipe's labels; of `auxiliary.classes`, any.
        folder: name of the sub-folder; default: the label.
        name_contains: only files whose name holds this.
    """

    label: Name
    folder: Name | None = None
    name_contains: str = ""


class MetadataColumns(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of columns in `metadata_csv`, which tells what names of files cannot: patient and projection.

    Attributes:
        file: name of the column that holds the file's path below the data folder, or its name where that is one file's.
        patient: of the column with the patient; absent: name, DICOM tags or folder tell.
        view: of the column with the projection; absent: there is none.
    """

    file: Name = "filename"
    patient: Name | None = None
    view: Name | None = None


class Selection(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which images of the data folder are used. Never the same bytes twice, but in lists, which are taken whole.

    Attributes:
        classes: where they lie; default: one sub-folder per label.
        metadata_csv: a table beside the images, relative to the data folder; images that it does not list are left out.
        metadata_columns: which of its columns say what.
        views: only images of these projections, by `metadata_csv`.
        per_patient: `all` images; `one` image of each patient; `one-per-class`: one of each rule in `classes`, where a
            patient has images of several (two rules may give one label).
        undersample: as many images of each class as the smallest has, drawn before the split.
        validation: share of all patients, by class, held back for validation, where no list is given.
        test: share of all patients, by class, held back for the test, where no list is given.
        seed: of these draws.
    """

    classes: tuple[ClassRule, ...] = ()
    metadata_csv: Name | None = None
    metadata_columns: MetadataColumns = MetadataColumns()
    views: tuple[Name, ...] = ()
    per_patient: Literal["all", "one", "one-per-class"] = "all"
    undersample: bool = False
    validation: Annotated[float, Meta(gt=0, lt=0.5)] = 0.15
    test: Annotated[float, Meta(ge=0, lt=0.5)] = 0.15
    seed: Seed = 0


class Augmentation(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is changed at random in every training image, each time anew; 0 or absent: nothing.

    Attributes:
        rotation: degrees, at most, either way.
        zoom: at most, either way: 0.1 is 90 % to 110 %, each axis a little apart.
        aspect: width against height, at most, either way: 0.25 is 4:5 to 5:4, as images of other shapes are squashed.
        shift: share of height and width, at most, either way.
        flip: left to right, every second image.
        brightness: share of the gray range added or taken, at most.
        contrast: at most, either way: 0.2 is 80 % to 120 % around the image's mean.
        gamma: at most, either way, as a power of e.
        noise: standard deviation in gray levels, at most.
        blur: standard deviation in pixels, at most.
        sharpen: weight of an unsharp mask, at most.
        jpeg: lowest quality of a JPEG encoding in between, of every second image.
        erase: share of the area of one rectangle set to one gray level, at most, in every second image.
        border: share of height and width, at most, covered by one gray level at each side, of every second image.
        untrimmed: share of the images that keep the edges which `trim` in `[resize]` would cut off.
    """

    rotation: Annotated[float, Meta(ge=0, le=180)] = 0.0
    zoom: Fraction = 0.0
    aspect: Fraction = 0.0
    shift: Fraction = 0.0
    flip: bool = False
    brightness: Share = 0.0
    contrast: Fraction = 0.0
    gamma: Annotated[float, Meta(ge=0, le=2)] = 0.0
    noise: Amount = 0.0
    blur: Annotated[float, Meta(ge=0, le=50)] = 0.0
    sharpen: Amount = 0.0
    jpeg: Annotated[int, Meta(ge=1, le=95)] | None = None
    erase: Fraction = 0.0
    border: Annotated[float, Meta(ge=0, lt=0.4)] = 0.0
    untrimmed: Share = 0.0


class Stage(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Some epochs with one setting; the next stage goes on with the weights, and a new optimizer.

    Attributes:
        epochs: at most; `early_stopping` may end the stage before.
        batch: images per step.
        learning_rate: at the start, after `warmup_epochs`.
        schedule: `constant`, or `cosine` down to 0 at the last epoch.
        warmup_epochs: the rate grows linearly up to `learning_rate` during them.
        side: height and width of the images in this stage (progressive resizing); default: the recipe's.
        backbone_layers: how many of the backbone's last layers are trained; `all`; 0: it stays as it is, its batch
            normalization too.
        augmentation: in this stage, in the place of the training's.
    """

    epochs: Count
    batch: Count
    learning_rate: Annotated[float, Meta(gt=0)]
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: Annotated[int, Meta(ge=0)] = 0
    side: Size | None = None
    backbone_layers: Annotated[int, Meta(ge=0)] | Literal["all"] = "all"
    augmentation: Augmentation | None = None


class EarlyStopping(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stage ends, and its best weights are taken, when nothing has improved for `patience` epochs."""

    monitor: Literal["loss", "auc", "balanced_accuracy"] = "loss"
    patience: Count


class Auxiliary(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A second output, in training only, that learns finer classes from the same features."""

    weight: Annotated[float, Meta(gt=0, le=10)]
    classes: Annotated[tuple[ClassRule, ...], Meta(min_length=2)]


class TrainingPlan(Strict, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the weights are found.

    Attributes:
        seed: of initial weights, order, augmentation and dropout.
        optimizer: by Keras' name.
        momentum: of `sgd`.
        weight_decay: decoupled from the gradient, of any optimizer; 0 is none, with `adamw` too.
        gradient_clip: longest gradient, as the Euclidean norm over all weights; a longer one is scaled down to it.
        loss: of every output: the cross-entropy, or `focal`, which weighs an image less the better it is told already
            (Lin et al., ICCV 2017; exponent 2).
        label_smoothing: of the loss.
        balance: `undersample` draws as many images of each class in each epoch, anew; `undersample-once` the same
            ones for ever; `class-weights` weighs the loss; `class-and-border-weights` does so among the images with a
            border (before `trim`, one edge of 4 pixels of a single gray level) and among those without one, so that to
            have one tells nothing of the class: of each class 10 with one and 10 without are needed; `none`.
        precision: `float32`, or computing in 16 bits with float32 weights, for hardware that gains by it; on other
            hardware that is done as well, and may be many times slower: `train` times both, and says so.
        averaging: decay of an exponential moving average of the weights, which is what is validated and saved.
        initial_share: of the initial weights in those that are saved, once all stages are over: a fine-tuned network
            that is taken back a little keeps more of what it knew (Wortsman et al., CVPR 2022). Not in the history.
        early_stopping: None: every stage runs to its end, and the last weights are taken.
        stages: one after the other.
        augmentation: of the training images, in every stage that has none of its own.
        auxiliary: a second output, dropped after training.
    """

    seed: Seed = 0
    optimizer: Literal["adam", "adamw", "nadam", "rmsprop", "sgd"] = "adam"
    momentum: Fraction = 0.9
    weight_decay: Amount = 0.0
    gradient_clip: Annotated[float, Meta(gt=0)] | None = None
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    label_smoothing: Annotated[float, Meta(ge=0, lt=0.5)] = 0.0
    balance: Literal["none", "undersample", "undersample-once", "class-weights", "class-and-border-weights"] = "none"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    averaging: Annotated[float, Meta(gt=0, lt=1)] | None = None
    initial_share: Fraction = 0.0
    early_stopping: EarlyStopping | None = None
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)]
    augmentation: Augmentation = Augmentation()
    auxiliary: Auxiliary | None = None
