"""Schema version 1 of the contract: everything that was decided about a model when it was made.

Plain frozen dataclasses; `codec` reads and writes them, `check` refuses what contradicts itself.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from cxr_edge.contract.certificate import Parity, Sha256
from cxr_edge.contract.image_gate import Count, GatePolicy, Name, Share
from cxr_edge.types import OperatingPoint

SCHEMA_VERSION = 1
METADATA_KEY = "cxr_edge.contract"

Size = Annotated[int, Meta(ge=1, le=4096)]
Percent = Annotated[int, Meta(ge=0, le=100)]
GrayLevel = Annotated[int, Meta(ge=1, le=254)]

Kernel = Literal["pillow-nearest", "pillow-bilinear", "pillow-bicubic", "pillow-lanczos", "tf-nearest", "tf-bilinear"]
PassOrder = Literal["horizontal-first", "vertical-first", "pillow-13"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """On whom the model was trained. `sha256` is over the sorted SHA-256 of the files; None where not recorded."""

    description: str
    images: Count
    sha256: Sha256 | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which model this is. `created` is ISO 8601 in UTC."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,99}$")]
    version: Annotated[str, Meta(pattern=r"^\d+\.\d+\.\d+([.-][0-9A-Za-z.-]+)?$")]
    created: str
    licence: Name
    recipe_sha256: Sha256
    source_model_sha256: Sha256
    training_data: TrainingData


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """How a file becomes 8-bit gray.

    Attributes:
        dicom: `ps3.3-c11-floor8`: modality LUT, VOI LUT, presentation LUT of DICOM PS3.3 C.11, floored to 8 bits.
        colour: `pillow-l`: (19595 R + 38470 G + 7471 B + 32768) >> 16, Pillow's conversion to "L".
        exif_orientation: whether EXIF orientation is applied to JPEG, PNG and WebP; TIFF is always turned.
    """

    dicom: Literal["ps3.3-c11-floor8"]
    colour: Literal["pillow-l"]
    exif_orientation: Literal["ignore", "apply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input tensor of the graph: [N, height, width, channels]. Gray is repeated over 3 channels."""

    name: Name
    dtype: Literal["uint8", "float32"]
    height: Size
    width: Size
    channels: Literal[1, 3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """How the radiograph becomes `Input.height` x `Input.width`.

    Attributes:
        kernel: the exact implementation that training used.
        pass_order: which axis a Pillow kernel resamples first: Pillow up to 12 always the horizontal one;
            `pillow-13` is the rule of Pillow 13. Without meaning for nearest and tf kernels.
        aspect: `squash` ignores the aspect ratio; `crop` and `pad` centre-crop or centre-pad to it first.
        pad_value: gray level of the padding, 0..255.
        trim: edges of one gray level are cut off before anything else, where they span at most this many levels (see
            `cxr_edge.preprocess.trim`); None: nothing is cut.
    """

    kernel: Kernel
    pass_order: PassOrder
    aspect: Literal["squash", "crop", "pad"]
    pad_value: Annotated[int, Meta(ge=0, le=255)] = 0
    trim: Annotated[int, Meta(ge=0, le=64)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """How gray levels are brought to those of the training images, after the resize (`cxr_edge.preprocess.contrast`).

    Attributes:
        percentiles: of the gray levels of the image's central part, ascending; not with aspect `pad` or kernel
            `tf-bilinear`.
        levels: the gray level that each becomes, as many as percentiles, ascending; straight pieces between them, and
            on beyond the ends, of a slope of at most 4.
        margin: percent of the height and width that the central part leaves out on each side.
    """

    percentiles: Annotated[tuple[Percent, ...], Meta(min_length=1, max_length=16)]
    levels: Annotated[tuple[GrayLevel, ...], Meta(min_length=1, max_length=16)]
    margin: Annotated[int, Meta(ge=0, le=45)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """y = (x - mean) / scale per channel, float32; done by the graph when `folded`, else by the runtime."""

    channel_order: Literal["gray", "rgb", "bgr"]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    folded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One network of the model; an ensemble has several, fused into one graph. `contrast` None: levels stay."""

    name: Name
    input: Input
    resize: Resize
    normalization: Normalization
    contrast: Contrast | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Names of the graph's outputs. `temperature` calibrates scores: softmax(log p / temperature); None: as trained."""

    probabilities: Name
    activation_map: Name | None
    features: Name | None
    temperature: Annotated[float, Meta(ge=0.01, le=100)] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntendedUse:
    """On which images the model may be asked. Empty tuples and None: not restricted.

    Attributes:
        statement: shown beside every result; must hold "not a medical device".
    """

    modalities: tuple[str, ...]
    views: tuple[str, ...]
    body_parts: tuple[str, ...]
    age_years: tuple[float, float] | None
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How the graph was quantized; `scheme` none is the float graph.

    Attributes:
        ranges: how activation ranges were taken from the quantization-calibration images.
        percentile: of the activations that `percentile` ranges keep; None for other ranges.
        seed: of the draw of the quantization-calibration images.
        reduce_range: 7-bit weights, so that 16-bit accumulation cannot saturate on CPUs without VNNI.
        bias_correction: whether each layer's mean shift was measured and taken back.
        first_layer: how the first convolution's weights were rounded; `sum-keeping` keeps the answer to flat images.
        float_layers: nodes left in float.
        images: number of quantization-calibration images; `sha256` is over their sorted SHA-256.
    """

    scheme: Literal["none", "int8-u8s8-qdq"]
    ranges: Literal["none", "minmax", "moving-average", "percentile", "entropy"]
    percentile: Annotated[float, Meta(gt=0, le=100)] | None
    seed: Count
    per_channel: bool
    reduce_range: bool
    bias_correction: bool
    first_layer: Literal["float", "nearest", "sum-keeping"]
    float_layers: tuple[str, ...]
    images: Count
    sha256: Sha256 | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCase:
    """A synthetic input with what the Keras pipeline and this file gave for it.

    `png` is the 8-bit gray image, base64; `tensor_sha256` one digest per member, over the C-order bytes of [H, W, C];
    `reference` and `exported` are the probabilities as the network gives them, before score calibration.
    """

    name: Name
    png: str
    tensor_sha256: tuple[Sha256, ...]
    reference: tuple[Share, ...]
    exported: tuple[Share, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Golden cases, and by how much a probability may differ from `exported` on another CPU."""

    tolerance: Share
    cases: tuple[GoldenCase, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Everything that was decided about one model file."""

    schema_version: Literal[1]
    identity: Identity
    rendering: Rendering
    members: Annotated[tuple[Member, ...], Meta(min_length=1)]
    outputs: Outputs
    labels: Annotated[tuple[Name, ...], Meta(min_length=2)]
    positive_labels: Annotated[tuple[Name, ...], Meta(min_length=1)]
    operating_points: Annotated[tuple[OperatingPoint, ...], Meta(min_length=1)]
    default_operating_point: Name
    intended_use: IntendedUse
    gate: GatePolicy
    quantization: Quantization
    parity: Parity
    golden: Golden
