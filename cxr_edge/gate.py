"""Whether an image is one that the model may be asked about, judged from its DICOM tags alone.

The SOP class decides nothing: real chest radiographs are stored as Secondary Captures. An absent tag warns, a wrong one
refuses. A file without tags has status `unknown`, never `ok`.
"""

from collections.abc import Iterable
from typing import Final

from cxr_edge.contract.schema import IntendedUse
from cxr_edge.errors import Reason
from cxr_edge.types import Gate, GateMode, GateStatus, Latency, Note, Radiograph, Rejection, Source, Tags

_MODALITY: Final = "(0008,0060) Modality"
_VIEW: Final = "(0018,5101) View Position"
_BODY_PART: Final = "(0018,0015) Body Part Examined"
_AGE: Final = "(0010,1010) Patient's Age"
_SPECIES: Final = "(0010,2201) Patient Species Description"
_HUMAN: Final = ("HUMAN", "HOMO SAPIENS")
# PS3.16 CID 4015 names the chest CHEST; THORAX is common in the field
_SAME_BODY_PART: Final = ({"CHEST", "THORAX"},)
_OLDEST_SHOWN: Final = 89  # ages above identify people
# PS3.3 C.7.3.1.1.1, without OT (other): what is not listed is not known to be wrong, so it only warns
_KNOWN_MODALITIES: Final = frozenset(
    (  # noqa: SIM905 - eighty lines otherwise
        "ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL "
        "IVOCT IVUS KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS PA PLAN POS PR PT PX REG "
        "RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN "
        "TEXTUREMAP TG US VA XA XAPROTOCOL XC "
    ).split()
)
# What a message may show: free text in a tag could name a patient
_SHOWN_MODALITIES: Final = _KNOWN_MODALITIES | {"OT"}
_SHOWN_VIEWS: Final = frozenset(  # PS3.3 C.8.7.1, C.8.11.5, PS3.16 CID 4014, and common practice
    "AP PA LL RL RLD LLD RLO LLO ML LM MLO LMO CC XCC XCCL XCCM FB SIO ISO LAT LATERAL OBLIQUE".split()  # noqa: SIM905
)
_SHOWN_BODY_PARTS: Final = frozenset(  # PS3.16 annex L
    (  # noqa: SIM905 - a hundred lines otherwise
        "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS "
        "CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX COLON CSPINE CTSPINE "
        "DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE FACE FEMUR FIBULA FINGER FOOT FOREARM GALLBLADDER HAND HEAD "
        "HEADNECK HEART HIP HUMERUS IAC ILEUM ILIUM JAW JAWJOINT JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE LSSPINE "
        "LUNG MANDIBLE MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT OVARY "
        "PANCREAS PAROTID PATELLA PELVIS PHARYNX PROSTATE RADIUS RADIUSULNA RECTUM RIB SCALP SCAPULA SHOULDER SKULL "
        "SPINE SPLEEN SSPINE STERNUM STOMACH TEETH TESTIS THIGH THORAX THUMB THYMUS THYROID TIBIA TIBIAFIBULA TLSPINE "
        "TMJ TOE TONGUE TRACHEA TSPINE ULNA URETER URETHRA UTERUS WHOLEBODY WRIST ZYGOMA "
    ).split()
)
_SHOWN_SPECIES: Final = frozenset(
    ("CODED SPECIES", "CANIS LUPUS FAMILIARIS", "FELIS CATUS", "EQUUS CABALLUS", "BOS TAURUS", "OVIS ARIES")
) | frozenset("CANINE FELINE EQUINE BOVINE OVINE CAPRINE PORCINE AVIAN MURINE DOG CAT HORSE".split())  # noqa: SIM905
_OF_THE_IMAGE: Final = frozenset(
    reason.value for reason in (Reason.GATE_OUT_OF_DISTRIBUTION, Reason.GATE_POLARITY, Reason.GATE_ORIENTATION)
)
_Finding = tuple[GateStatus, Note]


def check_gate(radiograph: Radiograph, intended_use: IntendedUse, mode: GateMode) -> Gate:
    """Judge a decoded image by its tags.

    Args:
        radiograph: the decoded image.
        intended_use: what the model's contract allows; an empty tuple or None restricts nothing.
        mode: `off` judges nothing. `strict` and `warn` give the same answer: what to do about it is the caller's.

    Returns:
        The worst status of all tags, with a note for each tag that is not as needed. The codes of refusing notes are
        values of `Reason`.
    """
    if mode == "off":
        return Gate("unknown", (Note("gate_off", "the gate is switched off; nothing was checked"),))
    if radiograph.tags is None:
        note = Note("no_tags", "the file carries no DICOM tags; modality, view, body part and age were not checked")
        return Gate("unknown", (note,))
    findings = list(_findings(radiograph.tags, intended_use))
    statuses = {status for status, _ in findings}
    worst: GateStatus = "refused" if "refused" in statuses else "warn" if "warn" in statuses else "ok"
    return Gate(worst, tuple(note for _, note in sorted(findings, key=lambda finding: finding[0] != "refused")))


def refusal(source: Source, gate: Gate, latency: Latency) -> Rejection:
    """What becomes of an image whose gate status is `refused`: the first refusing note gives the reason.

    What the image itself gave away is said in full: an inverted radiograph is unlike those of training, too, and the
    second finding tells what to do about it.

    Args:
        source: of the image.
        gate: with at least one note whose code is a value of `Reason`.
        latency: until here.
    """
    codes = {reason.value for reason in Reason}
    first = next(note for note in gate.reasons if note.code in codes)
    notes = [note for note in gate.reasons if note.code in _OF_THE_IMAGE] if first.code in _OF_THE_IMAGE else [first]
    message = "; ".join(note.message for note in notes)
    return Rejection(source=source, reason=Reason(first.code), message=message, gate=gate, latency=latency)


def _findings(tags: Tags, use: IntendedUse) -> Iterable[_Finding]:
    yield from _modality(tags.modality, use.modalities)
    yield from _one_of(Reason.GATE_VIEW, _VIEW, tags.view_position, use.views, _SHOWN_VIEWS)
    body_parts = _with_synonyms(use.body_parts)
    yield from _one_of(Reason.GATE_BODY_PART, _BODY_PART, tags.body_part_examined, body_parts, _SHOWN_BODY_PARTS)
    yield from _age(tags.patient_age_years, use.age_years)
    if tags.patient_species is not None and tags.patient_species.upper() not in _HUMAN:
        message = f"{_SPECIES} is {_shown(tags.patient_species, _SHOWN_SPECIES)}; need a human"
        yield "refused", Note(Reason.GATE_SPECIES.value, message)


def _modality(found: str | None, allowed: tuple[str, ...]) -> Iterable[_Finding]:
    known = found is None or found.upper() in _KNOWN_MODALITIES
    for status, note in _one_of(Reason.GATE_MODALITY, _MODALITY, found, allowed, _SHOWN_MODALITIES):
        yield (status if known else "warn"), note


def _one_of(
    reason: Reason, tag: str, found: str | None, allowed: Iterable[str], shown: frozenset[str]
) -> Iterable[_Finding]:
    needed = tuple(value.upper() for value in allowed)
    if not needed or (found is not None and found.upper() in needed):
        return
    need = f"need {' or '.join(needed)}"
    if found is None:
        yield "warn", Note(reason.value, f"{tag} is absent or empty; {need}")
    else:
        yield "refused", Note(reason.value, f"{tag} is {_shown(found, shown)}; {need}")


def _age(found: float | None, allowed: tuple[float, float] | None) -> Iterable[_Finding]:
    if allowed is None:
        return
    low, high = allowed
    need = f"the model was trained on {low:g} to {high:g} years"
    if found is None:
        yield "warn", Note("age", f"{_AGE} is absent or unreadable; {need}")
    elif not low <= found < high + 1:  # an age of 5Y is anything up to the sixth birthday
        shown = f"{found:.3g}" if found <= _OLDEST_SHOWN else f"over {_OLDEST_SHOWN}"
        yield "warn", Note("age", f"{_AGE} is {shown} years; {need}")


def _with_synonyms(body_parts: tuple[str, ...]) -> tuple[str, ...]:
    named = {part.upper() for part in body_parts}
    more = [part for same in _SAME_BODY_PART if same & named for part in sorted(same - named)]
    return (*body_parts, *more)


def _shown(value: str, terms: frozenset[str]) -> str:
    """Return a tag's value for a message: only a term that everybody knows."""
    return value.upper() if value.upper() in terms else "another value"
