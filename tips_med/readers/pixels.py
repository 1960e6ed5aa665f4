"""Stored pixels to real values: decoding, unused bits, padding, rescaling (PS3.3 C.7.6.3, C.7.5.1.1.2, C.11.1)."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.uid import UID

from tips_med.errors import ReadError
from tips_med.readers.bounded import BoundedFile
from tips_med.readers.codestreams import check_codestream
from tips_med.readers.headers import Frame
from tips_med.readers.layouts import PixelLayout, inflate

_PACKAGES = {
    "1.2.840.10008.1.2.4.50": "python-gdcm",
    "1.2.840.10008.1.2.4.51": "python-gdcm",
    "1.2.840.10008.1.2.4.57": "python-gdcm",
    "1.2.840.10008.1.2.4.70": "python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg pylibjpeg-openjpeg",
}
"""The permissively licensed package that decodes a transfer syntax (PS3.5 annex A); RLE needs none."""

_PLUGINS = {"python-gdcm": "gdcm", "pyjpegls": "pyjpegls", "pylibjpeg pylibjpeg-openjpeg": "pylibjpeg"}
_RLE = "1.2.840.10008.1.2.5"


class PixelReader:
    """Reads frames one at a time; keeps one file open, so that frames of one file come quickly after another."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._stream: io.BufferedIOBase | None = None
        self._inflated: bytes | None = None
        self._encapsulated: pydicom.Dataset | None = None

    def __enter__(self) -> PixelReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._path = self._stream = self._inflated = self._encapsulated = None

    def stored(self, frame: Frame) -> np.ndarray:
        """Stored values of a frame, unused bits removed and the sign extended, integers of shape [j, i].

        Raises:
            ReadError: ``truncated-file``, ``unsupported-compression``, ``codec-missing``, ``damaged-pixels``.
        """
        layout = frame.pixels
        pixels = self._native(frame, layout) if layout.native else self._decoded(frame, layout)
        return _used_bits(pixels, layout)

    def digest(self, frame: Frame) -> bytes:
        """A digest of the frame's stored values."""
        pixels = self.stored(frame)
        return hashlib.sha256(np.ascontiguousarray(pixels, dtype=np.int64).tobytes()).digest()

    def _open(self, layout: PixelLayout) -> io.BufferedIOBase:
        if self._path != layout.path or self._stream is None:
            self._close()
            try:
                self._stream = layout.path.open("rb")
            except OSError as error:
                raise ReadError("cannot be opened", path=layout.path, code="unreadable-file") from error
            self._path = layout.path
        return self._stream

    def _native(self, frame: Frame, layout: PixelLayout) -> np.ndarray:
        stream = self._open(layout)
        offset = layout.offset + max(0, frame.number - 1) * layout.frame_bytes
        if layout.deflated:
            if self._inflated is None:
                self._inflated, _ = inflate(layout.path, stream)
            data = self._inflated[offset : offset + layout.frame_bytes]
        else:
            stream.seek(offset)
            data = stream.read(layout.frame_bytes)
        if len(data) < layout.frame_bytes:
            raise ReadError("is cut short", path=layout.path, code="truncated-file", remedy="copy the file again")
        if layout.big_endian and layout.bits_allocated == 8 and layout.vr == "OW":
            data = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2").astype("<u2").tobytes()[: len(data)]
        dtype = np.dtype(
            f"{'>' if layout.big_endian else '<'}{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}"
        )
        pixels = np.frombuffer(data, dtype).reshape(layout.rows, layout.columns)
        return pixels.astype(dtype.newbyteorder("=")) if layout.big_endian else pixels

    def _decoded(self, frame: Frame, layout: PixelLayout) -> np.ndarray:
        decoder, plugin = _decoder(layout)
        with _refusing(layout.path):
            if self._path != layout.path or self._encapsulated is None:
                self._close()
                with BoundedFile(layout.path) as stream:
                    self._encapsulated, self._path = pydicom.dcmread(stream, force=True), layout.path
            dataset = self._encapsulated
            index = max(0, frame.number - 1)
            check_codestream(dataset.PixelData, index, layout)
            pixels, _ = decoder.as_array(dataset, index=index, raw=True, decoding_plugin=plugin)
        if pixels.shape != (layout.rows, layout.columns):
            raise ReadError(
                f"decodes to {pixels.shape}",
                path=layout.path,
                expected=f"{layout.rows} x {layout.columns}",
                code="damaged-pixels",
            )
        return pixels


def _decoder(layout: PixelLayout) -> tuple[Decoder, str]:
    """The decoder for a transfer syntax and the plugin to use, which must be installed."""
    syntax = layout.transfer_syntax
    package = _PACKAGES.get(syntax)
    if package is None and syntax != _RLE:
        raise ReadError(
            f"its pixels are compressed as {UID(syntax).name}, which is not supported",
            path=layout.path,
            remedy="decompress it first, for example with dcmdjpeg or gdcmconv --raw",
            code="unsupported-compression",
        )
    decoder = get_decoder(syntax)
    plugin = "pydicom" if package is None else _PLUGINS[package]
    if plugin not in decoder.available_plugins:
        raise ReadError(
            f"its pixels are compressed as {UID(syntax).name}, for which no decoder is installed",
            path=layout.path,
            remedy=f"install it with: pip install {package}",
            code="codec-missing",
        )
    return decoder, plugin


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turns whatever a decoder raises into a refusal."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ReadError:
        raise
    except OSError as error:
        raise ReadError("cannot be read", path=path, code="unreadable-file") from error
    except Exception as error:  # decoders raise what they like
        raise ReadError(
            f"its compressed pixels cannot be decoded ({type(error).__name__})",
            path=path,
            remedy="copy or export the file again",
            code="damaged-pixels",
        ) from error


def _used_bits(pixels: np.ndarray, layout: PixelLayout) -> np.ndarray:
    """Drops what lies above High Bit (overlays, junk) or below the stored bits, and extends the sign."""
    if pixels.dtype.itemsize * 8 != layout.bits_allocated:  # decoders may return a narrower or wider type
        pixels = pixels.astype(np.dtype(f"{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}"))
    above = layout.bits_allocated - 1 - layout.high_bit
    below = layout.bits_allocated - layout.bits_stored
    wanted = np.dtype(f"{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}")
    pixels = pixels.view(wanted)
    if below == 0:
        return pixels
    return np.right_shift(np.left_shift(pixels, above), below)


def fill_values(frame: Frame, stored: np.ndarray, out: np.ndarray) -> None:
    """Writes a frame's real values, padding as NaN, to ``out``, float32 [j, i]."""
    slope = 1.0 if frame.slope is None else frame.slope
    intercept = 0.0 if frame.intercept is None else frame.intercept
    whole = float(slope).is_integer() and float(intercept).is_integer() and abs(slope) < 256
    if stored.dtype.itemsize <= 2 and (whole or intercept == 0):
        np.multiply(stored, np.float32(slope), out=out, casting="unsafe")
        if intercept:
            out += np.float32(intercept)
    else:
        out[...] = stored * np.float64(slope) + intercept
    if frame.padding is not None:
        low, high = frame.padding
        out[(stored >= low) & (stored <= high) if low != high else stored == low] = np.nan
