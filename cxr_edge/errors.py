"""The exceptions of cxr-edge: one tree, each with a reason code and an exit code.

    CxrEdgeError
    ├── UsageError            2   the call itself is wrong
    ├── InputError            3   this image cannot be classified; becomes a Rejection in a batch
    ├── ModelError            5   the model file cannot be used
    │   └── ContractError     5   its contract is missing, unknown or contradicts itself
    ├── ProviderError         5   the execution provider asked for is not to be had
    ├── EnvironmentUnusable   5   this installation cannot run
    ├── OutputError           6   an output cannot be written, or exists already
    └── LimitBroken           7   an export limit was broken

Messages say what was found and what is needed. They never hold a patient's name or identifier, nor a file name:
the caller knows the file and puts it in front.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why an image was not classified. The value is the stable code of the JSON schema."""

    NOT_FOUND = "not_found"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    UNKNOWN_FORMAT = "unknown_format"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    NO_PIXEL_DATA = "no_pixel_data"
    DICOMDIR = "dicomdir"
    UNSUPPORTED = "unsupported"
    NO_DECODER = "no_decoder"
    DECODE_FAILED = "decode_failed"
    DECODE_TIMEOUT = "decode_timeout"
    DECODER_CRASHED = "decoder_crashed"
    TOO_LARGE = "too_large"
    DIMENSIONS_DISAGREE = "dimensions_disagree"
    MULTI_FRAME = "multi_frame"
    FOR_PROCESSING = "for_processing"
    GATE_MODALITY = "gate_modality"
    GATE_VIEW = "gate_view"
    GATE_BODY_PART = "gate_body_part"
    GATE_SPECIES = "gate_species"
    GATE_OUT_OF_DISTRIBUTION = "gate_out_of_distribution"
    GATE_POLARITY = "gate_polarity"
    GATE_ORIENTATION = "gate_orientation"
    INTERNAL = "internal"


class CxrEdgeError(Exception):
    """Base of every error that leaves this package."""

    exit_code = 1


class UsageError(CxrEdgeError):
    """The call itself is wrong: an unknown operating point, an unsupported argument type."""

    exit_code = 2


class InputError(CxrEdgeError):
    """This one image cannot be classified.

    Attributes:
        reason: the stable reason code, as written into a `Rejection`.
        sop_instance_uid, study_instance_uid: where the file could be read as far as that.
    """

    exit_code = 3
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None

    def __init__(self, reason: Reason, message: str) -> None:
        """Keep the reason code beside the message."""
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["InputError"], tuple[Reason, str]]:
        """Pickle with both arguments: the default keeps the message alone."""
        return type(self), (self.reason, str(self))


class ModelError(CxrEdgeError):
    """The model file cannot be used."""

    exit_code = 5


class ContractError(ModelError):
    """The contract inside the model file is missing, unknown to this version, or contradicts itself."""


class ProviderError(CxrEdgeError):
    """The execution provider asked for is not to be had on this machine."""

    exit_code = 5


class EnvironmentUnusable(CxrEdgeError):  # noqa: N818 - the tree names states, `EnvironmentError` is a builtin
    """This installation cannot run: clashing wheels, a missing library."""

    exit_code = 5


class OutputError(CxrEdgeError):
    """An output cannot be written, or exists already and was not to be overwritten."""

    exit_code = 6


class LimitBroken(CxrEdgeError):  # noqa: N818 - named after what happened, as docs/reference/exit-codes.md does
    """An export broke one of its recipe's limits."""

    exit_code = 7
