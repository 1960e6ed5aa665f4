"""Transfer syntaxes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from tests.readers.awkward.case import Case, Written
from tests.readers.awkward.writing import make_series, stored_of, truth_of, write_series

_LARGE: dict[str, Any] = {"rows": 72, "columns": 64, "spacing_mm": (0.42, 0.47), "slices": 6}
"""The JPEG 2000 encoder wants slices of some size."""

HTJ2K_STREAMS = Path(__file__).with_name("htj2k.json")


def _native(syntax: str) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        slices = make_series(signed=True, bits=16)
        truth = truth_of(slices)
        if syntax == ExplicitVRBigEndian:
            for item in slices:
                item.dataset.PixelData = stored_of(item).byteswap().tobytes()
        return Written(write_series(folder, slices, syntax), (truth,))

    return write


def _compressed(syntax: str, plugin: str, **plan: Any) -> Callable[[Path], Written]:
    def write(folder: Path) -> Written:
        slices = make_series(**plan)
        truth = truth_of(slices)
        write_series(folder, slices)  # gives every data set its file meta information
        for item in slices:
            item.dataset.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
        return Written(write_series(folder, slices), (truth,))

    return write


def _jpeg_lossless(folder: Path) -> Written:
    """gdcm writes it; pydicom has no encoder for it."""
    import gdcm

    slices = make_series()
    truth = truth_of(slices)
    write_series(folder, slices)
    for path in sorted(folder.iterdir()):
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    return Written(folder, (truth,))


def _htj2k(folder: Path) -> Written:
    """Codestreams of three slices, made once with OpenJPH's ojph_compress (lossless); no Python encoder exists."""
    slices = make_series(slices=3)
    truth = truth_of(slices)
    for item, stream in zip(slices, json.loads(HTJ2K_STREAMS.read_text()), strict=True):
        item.dataset.PixelData = encapsulate([base64.b64decode(stream)])
        item.dataset["PixelData"].VR = "OB"
        item.dataset["PixelData"].is_undefined_length = True
    return Written(write_series(folder, slices, HTJ2KLossless), (truth,))


def _wrong_size(folder: Path) -> Written:
    """The codestream is of another size than Rows and Columns."""
    written = _compressed(JPEG2000Lossless, "pylibjpeg", **_LARGE)(folder)
    import pydicom

    path = sorted(written.path.iterdir())[2]
    dataset = pydicom.dcmread(path)
    other = make_series(rows=80, columns=80)[0]
    write_series(folder.parent / "other", [other])
    other.dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    dataset.PixelData = other.dataset.PixelData
    dataset.save_as(path)
    return Written(written.path)


CASES = [
    Case("implicit little endian", _native(ImplicitVRLittleEndian)),
    Case("explicit little endian", _native(ExplicitVRLittleEndian)),
    Case("explicit big endian", _native(ExplicitVRBigEndian)),
    Case("deflated", _native(DeflatedExplicitVRLittleEndian)),
    Case("RLE", _compressed(RLELossless, "pydicom")),
    Case("JPEG lossless", _jpeg_lossless),
    Case("JPEG-LS", _compressed(JPEGLSLossless, "pyjpegls")),
    Case("JPEG-LS, signed", _compressed(JPEGLSLossless, "pyjpegls", signed=True, bits=16)),
    Case("JPEG 2000", _compressed(JPEG2000Lossless, "pylibjpeg", **_LARGE)),
    Case("JPEG 2000, signed", _compressed(JPEG2000Lossless, "pylibjpeg", signed=True, bits=16, **_LARGE)),
    Case("HTJ2K", _htj2k),
    Case("JPEG 2000 of another size than Rows x Columns", _wrong_size, "damaged-pixels"),
]
