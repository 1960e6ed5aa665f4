"""Answers of tips_med from an exported model, with numpy, scipy and ONNX Runtime. Research use only.

>>> runtime = Runtime("chest_ct_onnx")  # doctest: +SKIP
>>> study = runtime.encode(read_nifti("chest.nii.gz"))  # doctest: +SKIP
>>> print(runtime.ask(study, "mass in the left lung"))  # doctest: +SKIP
"""

from tips_med_runtime.answer import Answer
from tips_med_runtime.errors import ConfigError, ModalityError, QueryError, ReadError, TipsMedError, WeightsError
from tips_med_runtime.files import read_nifti
from tips_med_runtime.runtime import Runtime
from tips_med_runtime.scan import Scan
from tips_med_runtime.study import Study

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "ConfigError",
    "ModalityError",
    "QueryError",
    "ReadError",
    "Runtime",
    "Scan",
    "Study",
    "TipsMedError",
    "WeightsError",
    "read_nifti",
]
