"""Any orientation, order and spacing comes out in its place."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.readers.awkward.phantom import agrees
from tests.readers.awkward.writing import Slice, make_series, truth_of, write_series
from tips_med.errors import ReadError
from tips_med.geometry import is_right_handed
from tips_med.readers import read_scan

UNIT = st.floats(-1, 1, allow_nan=False, width=32)
ROTATIONS = st.tuples(UNIT, UNIT, UNIT, UNIT).filter(lambda q: float(np.linalg.norm(q)) > 0.1)


def _orientation(quaternion: tuple[float, float, float, float]) -> tuple[float, ...]:
    matrix = Rotation.from_quat(quaternion).as_matrix()
    return (*matrix[:, 0].tolist(), *matrix[:, 1].tolist())


def _series(quaternion: tuple[float, float, float, float], spacing: tuple[float, float], step: float) -> list[Slice]:
    return make_series(
        slices=7, rows=9, columns=6, orientation=_orientation(quaternion), spacing_mm=spacing, step_mm=step
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    quaternion=ROTATIONS,
    spacing=st.tuples(st.floats(0.3, 4.0), st.floats(0.3, 4.0)).map(lambda s: (round(s[0], 4), round(s[1], 4))),
    step=st.floats(0.4, 8.0).map(lambda x: round(x, 3)),
    order=st.permutations(range(7)),
    numbers=st.permutations(range(1, 8)),
)
def test_placed_where_it_was_scanned(
    quaternion: tuple[float, float, float, float],
    spacing: tuple[float, float],
    step: float,
    order: list[int],
    numbers: list[int],
) -> None:
    slices = _series(quaternion, spacing, step)
    for item, number in zip(slices, numbers):
        item.set(InstanceNumber=number, SliceLocation=str(-number))
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder), [slices[n] for n in order])
        scan = read_scan(folder)
    assert agrees(scan.voxels, scan.lps_from_kji, truth_of(slices)) == ""
    assert is_right_handed(scan.lps_from_kji)
    assert scan.provenance.instance_uids == tuple(item.dataset.SOPInstanceUID for item in slices)
    np.testing.assert_allclose(scan.spacing_mm, (step, *spacing), rtol=1e-4)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(quaternion=ROTATIONS, lost=st.integers(1, 5), step=st.floats(0.5, 6.0))
def test_a_lost_slice_is_always_noticed(quaternion: tuple[float, float, float, float], lost: int, step: float) -> None:
    slices = _series(quaternion, (1.0, 1.3), step)
    kept = [item for n, item in enumerate(slices) if n != lost]
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder), kept)
        with pytest.raises(ReadError) as caught:
            read_scan(folder)
        scan = read_scan(folder, fill_gaps=True)
    assert caught.value.code == "missing-slice"
    truth = truth_of(kept, empty=slices[lost].points.reshape(-1, 3))
    assert agrees(scan.voxels, scan.lps_from_kji, truth) == ""
    assert scan.provenance.instance_uids[lost] == ""


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(quaternion=ROTATIONS, moved=st.integers(1, 5), by=st.floats(0.15, 0.45))
def test_a_moved_slice_is_always_noticed(quaternion: tuple[float, float, float, float], moved: int, by: float) -> None:
    slices = _series(quaternion, (1.0, 1.3), 2.0)
    normal = np.cross(_orientation(quaternion)[:3], _orientation(quaternion)[3:])
    item = slices[moved]
    position = np.array(item.dataset.ImagePositionPatient, dtype=float) + by * 2.0 * normal
    item.set(ImagePositionPatient=[f"{x:.6f}" for x in position])
    assume(len({tuple(s.dataset.ImagePositionPatient) for s in slices}) == 7)
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder), slices)
        with pytest.raises(ReadError) as caught:
            read_scan(folder)
    assert caught.value.code == "non-uniform-spacing"
