"""From one scan of a patient to another: where each place of the current scan lies in the prior one.

A shift over all overlaps first (masked correlation, Padfield 2012, doi:10.1109/TIP.2011.2181402), then an affine, then
B-splines inside the body (Rueckert 1999, doi:10.1109/42.796284), each by SimpleITK on a coarse grid along the patient's
axes. Masses are left out of what the B-splines compare (cost function masking, Brett 2001, doi:10.1006/nimg.2001.0845):
they would stretch the small mass of the prior scan until it is as large as the one it grew to. The same two scans
always give the same result: the seed of the points that are compared and the number of threads are fixed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from tips_med.encoders.study import EncodedStudy
from tips_med.errors import ModalityError
from tips_med.followup.quality import Quality, measure_quality
from tips_med.geometry import box_around, grid_corners, index_from_crop, transform_points
from tips_med.grounding.maps import study_thorax
from tips_med.model import GroundingModel
from tips_med.progress import ProgressCallback
from tips_med.resampling import resample, sitk_image
from tips_med.shapes import Affine, Points

logger = logging.getLogger(__name__)

CELL_MM = 4.0
"""Edge of the cells in which scans are compared: fine enough for fissures and large vessels, and quick."""

SEARCH_MM = 8.0
"""Edge of the cells in which the first shift is searched."""

WINDOW_HU = (-1000.0, 150.0)
"""Values beyond it are clipped: neither contrast medium, metal nor bone should draw the lungs along."""

MIN_OVERLAP = 0.5
"""Minimum share of the smaller scan that the other one must show, for the first shift: bodies resemble themselves."""

AFFINE_LEVELS, AFFINE_ROUNDS = 2, 60
"""Resolutions of the affine, and maximum of rounds at each."""

B_SPLINES = ((80.0, 2, 4000, 20), (40.0, 1, 5000, 20))
"""For each B-spline: mm between control points, factor of the cells, number of points compared, maximum of rounds."""

DENSE_HU = -400.0
"""Value in the lungs from which on tissue is dense; what is dense and thicker than three cells is left out."""

AROUND_DENSE_CELLS = 2
"""Margin that is left out, too, for the edge of a mass pulls like the mass itself; in cells."""

SEED = 1
"""Of the points that are compared."""

WORK_UNITS = 2
"""Parts that sums are split into. It is fixed, for the order of additions changes the last digits of a result."""

_AIR_HU = -1000.0


@dataclass(frozen=True, eq=False)
class ChestGrid:
    """A scan on a coarse axial grid along the patient's axes.

    Attributes:
        hu: Values within ``WINDOW_HU``, float32 [k j i]; air where nothing was measured.
        seen: Mask of measured cells, bool [k j i].
        body: Mask of the body, bool [k j i].
        lungs: Label map of the lungs, 1 right, 2 left, [k j i].
        lps_from_kji: Maps (k, j, i, 1) to LPS in mm.
    """

    hu: np.ndarray
    seen: np.ndarray
    body: np.ndarray
    lungs: np.ndarray
    lps_from_kji: Affine


@dataclass(frozen=True, eq=False)
class Registration:
    """Where each place of the current scan lies in the prior one, and how well they agree.

    Attributes:
        prior_from_current: Maps points of the current scan to the same tissue in the prior scan, LPS in mm. One
            transform, affine after B-splines; volumes of the prior are pulled through it onto the current scan.
        quality: Agreement of the prior, once moved, with the current scan.
    """

    prior_from_current: sitk.Transform
    quality: Quality

    def points_in_prior(self, points_lps: np.ndarray) -> Points:
        """Where points of the current scan lie in the prior one, LPS in mm, [n 3]."""
        points = np.atleast_2d(np.asarray(points_lps, np.float64))
        return np.array([self.prior_from_current.TransformPoint(point.tolist()) for point in points]).reshape(-1, 3)

    def points_in_current(self, points_lps: np.ndarray, rounds: int = 30) -> Points:
        """Where points of the prior scan lie in the current one, LPS in mm, [n 3].

        Each is sought until the transform leads back to it (to 0.05 mm, or as near as it comes where the B-spline
        folds): nothing is inverted in closed form.
        """
        wanted = np.atleast_2d(np.asarray(points_lps, np.float64))
        found = wanted.copy()
        for _ in range(rounds):
            miss = wanted - self.points_in_prior(found)
            found += miss
            if np.abs(miss).max(initial=0.0) < 0.05:
                break
        return found

    def displacement(self, lps_from_kji: Affine, shape: tuple[int, int, int]) -> np.ndarray:
        """How far places of the current scan lie from the same tissue in the prior one.

        Args:
            lps_from_kji: Maps (k, j, i, 1) of a grid in the current scan to LPS in mm.
            shape: Shape of that grid.

        Returns:
            LPS in mm, float32 [3 k j i].
        """
        like = sitk_image(np.zeros(shape, np.uint8), lps_from_kji)
        field = sitk.TransformToDisplacementField(
            self.prior_from_current,
            sitk.sitkVectorFloat64,
            like.GetSize(),
            like.GetOrigin(),
            like.GetSpacing(),
            like.GetDirection(),
        )
        return np.moveaxis(sitk.GetArrayFromImage(field), -1, 0).astype(np.float32)

    def warp(
        self,
        array: np.ndarray,
        lps_from_prior: Affine,
        lps_from_out: Affine,
        shape: tuple[int, int, int],
        *,
        linear: bool = True,
    ) -> np.ndarray:
        """A volume of the prior scan, on a grid in the current one.

        Args:
            array: Values with NaN where nothing was measured, or labels; [k j i].
            lps_from_prior: Maps (k, j, i, 1) of ``array`` to LPS in mm, in the prior scan.
            lps_from_out: The same for the new grid, in the current scan.
            shape: Shape of the new grid.
            linear: Use linear interpolation; nearest neighbour otherwise, for labels.

        Returns:
            float32, NaN where the prior scan does not reach, when ``linear``; else of the dtype of ``array``, with 0.
        """
        like = sitk_image(np.zeros(shape, np.uint8), lps_from_out)
        method = sitk.sitkLinear if linear else sitk.sitkNearestNeighbor
        outside = float("nan") if linear else 0.0
        image = sitk_image(array, lps_from_prior)
        moved = sitk.Resample(image, like, self.prior_from_current, method, outside, image.GetPixelID())
        return sitk.GetArrayFromImage(moved)


def register(
    prior: EncodedStudy, current: EncodedStudy, model: GroundingModel, progress: ProgressCallback | None = None
) -> Registration:
    """Registers two scans of one patient.

    Args:
        prior: Encoded earlier scan, CT.
        current: Encoded later scan, CT.
        model: Model that encoded both, which finds their lungs.
        progress: Called with (rounds done, maximum of rounds). What it raises ends the registration: at once, or after
            the B-spline at work, which takes some seconds.

    Raises:
        ModalityError: ``different-modality``, or ``not-registered``: their values are no Hounsfield units.
    """
    check_modalities(prior, current)
    moving, fixed = chest_grid(prior, model), chest_grid(current, model)
    with _quiet():
        try:
            transform = _fit(moving, fixed, _Rounds(progress))
        except RuntimeError:  # ITK's word for scans that share nothing; the quality then says so
            logger.info("the scans share too little to be registered")
            transform = sitk.CompositeTransform([sitk.TranslationTransform(3)])
    return Registration(transform, _quality(transform, moving, fixed))


@contextmanager
def _quiet() -> Iterator[None]:
    """ITK's own warnings on standard error, off; the quality of the result is what counts."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def check_modalities(prior: EncodedStudy, current: EncodedStudy) -> None:
    """Refuses what cannot be compared.

    Raises:
        ModalityError: ``different-modality``, or ``not-registered``.
    """
    if prior.scan.modality != current.scan.modality:
        raise ModalityError(
            f"the prior scan is {prior.scan.modality}, the current one {current.scan.modality}",
            expected="two scans of one modality",
            remedy="compare it with a scan of the same modality",
            code="different-modality",
        )
    if current.scan.unit != "HU" or prior.scan.unit != "HU":
        raise ModalityError(
            f"scans of modality {current.scan.modality} cannot be compared",
            expected="two CT scans in Hounsfield units",
            remedy="query each with tips-med ground",
            code="not-registered",
        )


def chest_grid(study: EncodedStudy, model: GroundingModel) -> ChestGrid:
    """A scan on its coarse grid, with body and lungs."""
    scan = study.scan
    corners = grid_corners(scan.lps_from_kji, scan.shape)
    low, high = corners.min(axis=0), corners.max(axis=0)
    k, j, i = (max(1, int(n)) for n in np.ceil((high - low) / CELL_MM)[::-1])
    affine = np.eye(4)
    affine[:3, :3] = np.diag([CELL_MM] * 3)[::-1]
    affine[:3, 3] = (low + high) / 2 - CELL_MM * (np.array([i, j, k]) - 1) / 2
    hu = resample(scan.voxels, scan.lps_from_kji, affine, (k, j, i))
    fine = study.features.lps_from_fine
    fine = study.features.lps_from_patch if fine is None else fine
    body = resample(study.body.inside.astype(np.uint8), fine, affine, (k, j, i), linear=False) > 0
    lungs = np.zeros((k, j, i), np.uint8)
    if "lung" in model.card.structures:
        lungs = resample(study_thorax(study, model).lungs.astype(np.uint8), fine, affine, (k, j, i), linear=False)
    seen = np.isfinite(hu)
    hu = np.clip(np.where(seen, hu, _AIR_HU), *WINDOW_HU).astype(np.float32)
    return ChestGrid(hu, seen, body & seen, lungs, affine)


class _Rounds:
    """Runs the stages one after the other, and tells how far all of them are.

    Args:
        progress: See ``register``.
    """

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress, self._begun = progress, 0
        self._total = AFFINE_LEVELS * AFFINE_ROUNDS + sum(rounds for *_, rounds in B_SPLINES)

    def execute(
        self, method: sitk.ImageRegistrationMethod, fixed: sitk.Image, moving: sitk.Image, rounds: int, levels: int = 1
    ) -> None:
        """Runs one stage of at most so many rounds at each level."""
        raised: list[Exception] = []

        def told() -> None:  # ITK prints what a callback raises, so it is kept until ITK has stopped
            try:
                if not raised and self._progress is not None:
                    done = method.GetCurrentLevel() * rounds + min(rounds, method.GetOptimizerIteration() + 1)
                    self._progress(self._begun + done, self._total)
            except Exception as error:
                raised.append(error)
            if raised:
                method.StopRegistration()  # L-BFGS-B knows no stop: that stage runs to its end

        if self._progress is not None:
            method.AddCommand(sitk.sitkIterationEvent, told)
        method.Execute(fixed, moving)
        if raised:
            raise raised[0]
        self._begun += levels * rounds
        if self._progress is not None:
            self._progress(self._begun, self._total)


def _fit(prior: ChestGrid, current: ChestGrid, rounds_of: _Rounds) -> sitk.Transform:
    """Shift, affine and B-splines, as one transform from the current to the prior scan."""
    fixed, moving = sitk_image(current.hu, current.lps_from_kji), sitk_image(prior.hu, prior.lps_from_kji)
    fixed_mask, moving_mask = _near_body(current), _near_body(prior)
    affine = sitk.AffineTransform(3)
    affine.SetCenter(_middle_lps(current))
    affine.SetTranslation(_shift_mm(prior, current))
    method = _method(sitk_image(fixed_mask, current.lps_from_kji), sitk_image(moving_mask, prior.lps_from_kji))
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.25, seed=SEED)  # its points are shifted at random, too
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([CELL_MM, 0.0])
    method.SetOptimizerAsRegularStepGradientDescent(4.0, 0.1, AFFINE_ROUNDS, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(affine, inPlace=True)
    rounds_of.execute(method, fixed, moving, AFFINE_ROUNDS, AFFINE_LEVELS)
    found = sitk.CompositeTransform([affine])
    # The B-splines end at the box around the chest; beyond it, and beyond the scan, the affine holds.
    region = (
        (ndimage.binary_dilation(current.lungs > 0, iterations=4) & current.seen) if current.lungs.any() else fixed_mask
    )
    box = box_around(region)
    if box is None:
        return found
    start = (box[0].start, box[1].start, box[2].start)
    lps_from_box = current.lps_from_kji @ index_from_crop(start)
    fixed = sitk_image(np.ascontiguousarray(current.hu[box]), lps_from_box)
    prior_masses, current_masses = _masses(prior), _masses(current)
    compared = region & ~current_masses
    inside = sitk_image(np.ascontiguousarray(compared[box]), lps_from_box)
    for control_mm, shrink, points, rounds in B_SPLINES:
        # The prior is moved by what is known before each step: ITK is slow on a B-spline within another transform.
        here = sitk.Resample(moving, fixed, found, sitk.sitkLinear, _AIR_HU)
        shown = sitk_image(prior.seen & ~prior_masses, prior.lps_from_kji)
        reached = sitk.Resample(shown, fixed, found, sitk.sitkNearestNeighbor, 0)
        mesh = [max(1, round(n * CELL_MM / control_mm)) for n in fixed.GetSize()]
        spline = sitk.BSplineTransformInitializer(fixed, mesh)
        method = _method(inside, reached)
        share = points * shrink**3 / max(1, int(compared.sum()))
        if share < 1:
            method.SetMetricSamplingStrategy(method.RANDOM)
            method.SetMetricSamplingPercentage(share, seed=SEED)
        method.SetShrinkFactorsPerLevel([shrink])
        method.SetSmoothingSigmasPerLevel([CELL_MM if shrink > 1 else 0.0])
        method.SetOptimizerAsLBFGSB(1e-5, rounds, 5, 2 * rounds, 1e9)
        method.SetInitialTransform(spline, inPlace=True)
        rounds_of.execute(method, fixed, here, rounds)
        found = sitk.CompositeTransform(found)
        found.AddTransform(spline)
    return found


def _method(fixed_mask: sitk.Image, moving_mask: sitk.Image) -> sitk.ImageRegistrationMethod:
    """Correlation, which neither the depth of breath nor a scanner's offset changes much."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(WORK_UNITS)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(fixed_mask)
    method.SetMetricMovingMask(moving_mask)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _near_body(grid: ChestGrid) -> np.ndarray:
    """The body with a rim of air, as far as it was measured: the skin is an edge to go by, couch and arms are not."""
    return ndimage.binary_dilation(grid.body, iterations=2) & grid.seen


def _masses(grid: ChestGrid) -> np.ndarray:
    """What is dense and thick within the lungs, with a margin: it may have grown, shrunk, come or gone."""
    dense = ndimage.binary_opening((grid.lungs > 0) & (grid.hu > DENSE_HU))
    return np.asarray(ndimage.binary_dilation(dense, iterations=AROUND_DENSE_CELLS))


def _middle_lps(grid: ChestGrid) -> list[float]:
    index = np.argwhere(grid.body) if grid.body.any() else np.array(grid.hu.shape)[None] / 2
    return transform_points(grid.lps_from_kji, index.mean(axis=0))[0].tolist()


def _shift_mm(prior: ChestGrid, current: ChestGrid) -> list[float]:
    """The shift that leads from the current to the prior scan, in whole cells of ``SEARCH_MM``, LPS in mm."""
    (fixed, fixed_mask), (moving, moving_mask) = (
        (_blocks(grid.hu), _blocks(_near_body(grid).astype(np.float32)) > 0.5) for grid in (current, prior)
    )
    if not fixed_mask.any() or not moving_mask.any():
        return [0.0, 0.0, 0.0]
    found = phase_cross_correlation(
        fixed, moving, reference_mask=fixed_mask, moving_mask=moving_mask, overlap_ratio=MIN_OVERLAP
    )
    cells = np.asarray(found[0], np.float64)  # of the prior, to lie on the current scan: k, j, i
    between = prior.lps_from_kji[:3, 3] - current.lps_from_kji[:3, 3]
    return (between - SEARCH_MM * cells[::-1]).tolist()


def _blocks(array: np.ndarray) -> np.ndarray:
    """Means of blocks of ``SEARCH_MM``; what is left over at the far ends is dropped."""
    n = round(SEARCH_MM / CELL_MM)
    array = np.pad(array, [(0, max(0, n - size)) for size in array.shape], mode="edge")
    k, j, i = (size // n for size in array.shape)
    return array[: k * n, : j * n, : i * n].reshape(k, n, j, n, i, n).mean(axis=(1, 3, 5))


def _quality(transform: sitk.Transform, prior: ChestGrid, current: ChestGrid) -> Quality:
    like = sitk_image(current.hu, current.lps_from_kji)

    def moved(array: np.ndarray, method: int, outside: float) -> np.ndarray:
        image = sitk.Resample(sitk_image(array, prior.lps_from_kji), like, transform, method, outside)
        return sitk.GetArrayFromImage(image)

    return measure_quality(
        moved(prior.hu, sitk.sitkLinear, _AIR_HU),
        current.hu,
        moved(prior.lungs > 0, sitk.sitkNearestNeighbor, 0) > 0,
        current.lungs > 0,
        (moved(prior.seen, sitk.sitkNearestNeighbor, 0) > 0) & current.seen,
        current.lps_from_kji,
        CELL_MM,
    )
