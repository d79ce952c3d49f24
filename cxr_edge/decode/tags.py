"""What is read from a DICOM data set besides its pixels: tags for the gate, and identifiers of the image."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cxr_edge.decode.foreign import foreign
from cxr_edge.errors import InputError, Reason
from cxr_edge.types import Note, Source, Tags

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# PS3.5 9.1: components of digits without leading zeros, at most 64 characters
_UID: Final = re.compile(r"(?=.{1,64}\Z)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")
_AGE: Final = re.compile(r"(\d{3})([DWMY])")
# The most bytes of an attribute that are read: a list of millions of values would be made of more
_MOST_BYTES: Final = 2**16
_LARGER: Final = {
    "LUTData": 2**18,  # 65,536 entries of 16 bits, and as much again for what writers add
    "RedPaletteColorLookupTableData": 2**18,
    "GreenPaletteColorLookupTableData": 2**18,
    "BluePaletteColorLookupTableData": 2**18,
    "AlphaPaletteColorLookupTableData": 2**18,
    "ModalityLUTSequence": 2**20,
    "VOILUTSequence": 2**20,
}
_READ_ALONG: Final = ("SpecificCharacterSet", "PixelRepresentation")  # by pydicom, to convert others
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(slots=True)
class Attributes:
    """Reads attributes of one data set by keyword and collects notes about those that cannot be read."""

    dataset: "Dataset"
    notes: list[Note] = field(default_factory=list)

    def value(self, keyword: str) -> Any:  # noqa: ANN401 - the type depends on the attribute
        """Return an attribute's value; None where it is absent or empty.

        Raises:
            InputError: `malformed`, where it cannot be read or is far too long.
        """
        with foreign(Reason.MALFORMED, f"{describe(keyword)} cannot be read"):
            for needed in (keyword, *_READ_ALONG):
                self.check_length(needed)
            value = self.dataset.get(keyword)
            blank = isinstance(value, str) and not value.strip("\0 ")
            return None if value is None or blank else value

    def check_length(self, keyword: str) -> None:
        """Refuse an attribute that is far too long while it is still raw bytes.

        Raises:
            InputError: `malformed`.
        """
        from pydicom.datadict import tag_for_keyword
        from pydicom.dataelem import RawDataElement

        element: Any = self.dataset.get_item(tag_for_keyword(keyword) or 0, keep_deferred=True)
        if not isinstance(element, RawDataElement):
            return
        held = element.length if element.value is None else len(element.value)
        most = _LARGER.get(keyword, _MOST_BYTES)
        if held > most:
            message = f"{describe(keyword)} holds {held:,} bytes; at most {most:,} are read"
            raise InputError(Reason.MALFORMED, message)

    def text(self, keyword: str) -> str | None:
        """Return an attribute as stripped upper-case text; several values are joined by a backslash."""
        return "\\".join(str(v) for v in as_list(self.value(keyword))).strip("\0 ").upper() or None

    def optional_text(self, keyword: str) -> str | None:
        """Return `text`, or None with a note where the attribute cannot be read: it does not change the pixels."""
        try:
            return self.text(keyword)
        except InputError as error:
            self.notes.append(Note("unreadable_attribute", f"{error}; not used"))
            return None

    def integer(self, keyword: str) -> int | None:
        """Return an attribute's first value as int.

        Raises:
            InputError: `malformed`, where it is there but no integer.
        """
        values = as_list(self.value(keyword))
        if not values:
            return None
        try:
            return int(values[0])
        except (TypeError, ValueError, OverflowError):
            raise InputError(Reason.MALFORMED, f"{describe(keyword)} is no integer") from None


def as_list(value: Any) -> list[Any]:  # noqa: ANN401 - whatever pydicom makes of an attribute
    """Return the values of an attribute: none, one or several."""
    if value is None:
        return []
    return [value] if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__") else list(value)


def describe(keyword: str) -> str:
    """Return `(gggg,eeee) Name` of an attribute."""
    from pydicom.datadict import dictionary_description, tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {dictionary_description(tag)}"


def read_tags(attributes: Attributes) -> Tags:
    """Return the attributes that the gate reads or that are recorded, upper case, without blanks."""
    return Tags(
        modality=attributes.optional_text("Modality"),
        view_position=attributes.optional_text("ViewPosition"),
        body_part_examined=attributes.optional_text("BodyPartExamined"),
        patient_age_years=_age_years(attributes),
        patient_species=attributes.optional_text("PatientSpeciesDescription") or _species_code(attributes),
        presentation_intent_type=attributes.optional_text("PresentationIntentType"),
        photometric_interpretation=attributes.optional_text("PhotometricInterpretation"),
        pixel_intensity_relationship=attributes.optional_text("PixelIntensityRelationship"),
    )


def read_source(attributes: Attributes, path: str | None) -> Source:
    """Return where the image came from; identifiers that are no UIDs are dropped with a note."""
    return Source(
        path=path,
        sop_instance_uid=_uid(attributes, "SOPInstanceUID"),
        study_instance_uid=_uid(attributes, "StudyInstanceUID"),
    )


def _age_years(attributes: Attributes) -> float | None:
    """Return an age string (PS3.5 6.2, AS: nnnD, nnnW, nnnM or nnnY) in years."""
    text = attributes.optional_text("PatientAge")
    if text is None:
        return None
    match = _AGE.fullmatch(text)
    if match is None:
        message = f"{describe('PatientAge')} is no age string; need three digits and D, W, M or Y"
        attributes.notes.append(Note("age_unreadable", message))
        return None
    return int(match[1]) * _YEARS[match[2]]


def _species_code(attributes: Attributes) -> str | None:
    """Return the meaning of Patient Species Code Sequence item 0 (PS3.3 C.7.1.1)."""
    items = attributes.value("PatientSpeciesCodeSequence")
    if not items:
        return None
    return Attributes(items[0], attributes.notes).text("CodeMeaning") or "CODED SPECIES"


def is_uid(text: str) -> bool:
    """Whether a text has the form of a UID (PS3.5 9.1)."""
    return _UID.fullmatch(text) is not None


def _uid(attributes: Attributes, keyword: str) -> str | None:
    text = attributes.optional_text(keyword)
    if text is None or is_uid(text):
        return text
    attributes.notes.append(Note("invalid_uid", f"{describe(keyword)} is no valid UID and is not used"))
    return None
