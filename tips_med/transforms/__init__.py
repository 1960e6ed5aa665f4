"""Every step from a file to an answer, and every augmentation of training, as MONAI transforms.

They compose with MONAI's own in both directions: any image that knows its place (a MetaTensor) will do, and what they
give is one. The quick functions (``tips_med.encode``, ``tips_med.ground``) lie underneath and do not need MONAI's
transforms, which take seconds to import.

    >>> from monai.transforms import Compose
    >>> answered = Compose([LoadScand("image"), EncodeStudyd("image"), GroundPhrased()])
    >>> answered({"image": "chest.nii.gz", "phrase": "mass in the left lung"})["mask"].shape
"""

from tips_med.transforms.array import (
    CropToBody,
    EncodeStudy,
    FindBody,
    FlipSides,
    GroundPhrase,
    LoadScan,
    MakeSlabs,
    StackSlabs,
    ToSlabGrid,
    heat_of_answer,
    mask_of_answer,
)
from tips_med.transforms.dictionary import (
    CropToBodyd,
    EncodeSlabsd,
    EncodeStudyd,
    FindBodyd,
    FlipSidesd,
    GroundPhrased,
    LoadScand,
    MakeSlabsd,
    StackSlabsd,
    ToSlabGridd,
)
from tips_med.transforms.enhancement import RandScaleEnhancement, RandScaleEnhancementd
from tips_med.transforms.phrases import mirrored_phrase, swapped_phrases
from tips_med.transforms.random import (
    CropAroundFindingd,
    RandCropAroundFindingd,
    RandFlipSidesd,
    RandShiftHounsfield,
    RandShiftHounsfieldd,
    RandSwapTermd,
)
from tips_med.transforms.tensors import (
    body_of_tensor,
    scan_of_tensor,
    slabs_of_tensors,
    tensor_of_body,
    tensor_of_scan,
    tensors_of_slabs,
)

__all__ = [
    "CropAroundFindingd",
    "CropToBody",
    "CropToBodyd",
    "EncodeSlabsd",
    "EncodeStudy",
    "EncodeStudyd",
    "FindBody",
    "FindBodyd",
    "FlipSides",
    "FlipSidesd",
    "GroundPhrase",
    "GroundPhrased",
    "LoadScan",
    "LoadScand",
    "MakeSlabs",
    "MakeSlabsd",
    "RandCropAroundFindingd",
    "RandFlipSidesd",
    "RandScaleEnhancement",
    "RandScaleEnhancementd",
    "RandShiftHounsfield",
    "RandShiftHounsfieldd",
    "RandSwapTermd",
    "StackSlabs",
    "StackSlabsd",
    "ToSlabGrid",
    "ToSlabGridd",
    "body_of_tensor",
    "heat_of_answer",
    "mask_of_answer",
    "mirrored_phrase",
    "scan_of_tensor",
    "slabs_of_tensors",
    "swapped_phrases",
    "tensor_of_body",
    "tensor_of_scan",
    "tensors_of_slabs",
]
