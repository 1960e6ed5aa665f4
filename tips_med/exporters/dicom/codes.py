"""Coded concepts of an answer (DICOM PS3.16)."""

from __future__ import annotations

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from tips_med.errors import OutputError
from tips_med.grounding import Reason
from tips_med.grounding.wording import REASONS
from tips_med.lexicon import Side
from tips_med.query import Query, Term

PRIVATE_SCHEME = "99TIPSMED"
"""For concepts without a verified standard code; private schemes begin with 99 (PS3.16 section 8.2)."""

PRESENCE = CodedConcept("presence", PRIVATE_SCHEME, "Presence of the finding")
SCORE = CodedConcept("score", PRIVATE_SCHEME, "Score of the model, not calibrated")
PROBABILITY_OF_REGION = CodedConcept("probability", PRIVATE_SCHEME, "Probability of the region by itself")
ASSESSED = CodedConcept("assessed", PRIVATE_SCHEME, "Share of the searched region that was assessed")
REASON = CodedConcept("reason", PRIVATE_SCHEME, "Reason of the answer")
NO_UNITS = CodedConcept("1", "UCUM", "no units")
ENTIRE_BODY = CodedConcept("38266002", "SCT", "Entire body")  # CID 4031
MILLILITRE = CodedConcept("mL", "UCUM", "mL")

_LATERALITY = {"left": codes.SCT.Left, "right": codes.SCT.Right, "both": codes.SCT.RightAndLeft}
_STATES = {"present": codes.SCT.Present, "absent": codes.SCT.Absent, "unsure": codes.SCT.Indeterminate}
_PROCEDURES = {
    "CT": codes.LN.CTUnspecifiedBodyRegion,
    "MR": codes.LN.MRIUnspecifiedBodyRegion,
    "PT": codes.LN.PETUnspecifiedBodyRegion,
}


def coded(term: Term) -> CodedConcept:
    """A term's code; its name under the private scheme where the lexicon has no verified one."""
    if term.code is None:
        return CodedConcept(term.id[:16], PRIVATE_SCHEME, term.name[:64])
    return CodedConcept(term.code.value, term.code.scheme, term.code.meaning)


def sought(query: Query) -> CodedConcept:
    """Code of the queried finding, else of the structure (segmented property type)."""
    return coded(_subject(query))


def sought_name(query: Query) -> str:
    """The same in words."""
    return _subject(query).name


def _subject(query: Query) -> Term:
    term = query.finding or query.structure
    if term is None:  # the lexicon understands no such query
        raise OutputError(f"{query.text!r} names nothing that has a code", code="no-subject")
    return term


def category(query: Query) -> CodedConcept:
    """Segmented property category (CID 7150)."""
    code = codes.SCT.MorphologicallyAbnormalStructure if query.finding else codes.SCT.AnatomicalStructure
    return CodedConcept(code.value, code.scheme_designator, code.meaning)


def region(query: Query) -> CodedConcept | None:
    """The structure in which a finding was queried; None when it has no verified code, or none was named."""
    structure = query.structure
    if query.finding is None or structure is None or structure.code is None:
        return None
    return coded(structure)


def laterality(query: Query, side: Side | None) -> CodedConcept | None:
    """The side (CID 244), for structures that the body has two of."""
    if side is None or query.structure is None or not query.structure.paired:
        return None
    code = _LATERALITY[side]
    return CodedConcept(code.value, code.scheme_designator, code.meaning.removesuffix(" (qualifier value)"))


def state(presence: str) -> CodedConcept:
    """Present, absent or indeterminate."""
    code = _STATES[presence]
    return CodedConcept(code.value, code.scheme_designator, code.meaning)


def reason(code: Reason) -> CodedConcept:
    """Code for a reason of an answer."""
    return CodedConcept(code[:16], PRIVATE_SCHEME, REASONS[code][:64])


def procedure(modality: str) -> CodedConcept:
    """The procedure reported (CID 100): the modality is known, the body region is not."""
    code = _PROCEDURES.get(modality, codes.SCT.ImagingProcedure)
    return CodedConcept(code.value, code.scheme_designator, code.meaning)


def identify_private_scheme(dataset: Dataset) -> None:
    """Says who is responsible for the private scheme (PS3.3 C.12.1, Coding Scheme Identification Sequence)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = "tips_med concepts without a standard code"
    item.CodingSchemeResponsibleOrganization = "The tips_med developers"
    dataset.CodingSchemeIdentificationSequence = [item]
