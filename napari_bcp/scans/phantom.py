"""The phantom cohort: made-up trunk scans with known truth, the product's sample data and the base of its tests.

Every case is a body drawn in millimetres (x right, y anterior, z superior) and then "acquired": partial volume,
a bias field, ghosts and Rician noise, as in an MR scanner. Organs keep their order and vary in place, size, tilt
and outline; brightness varies from case to case. Three organs have a class. Others look much like them (spleen
and liver, vena cava and aorta, gas-filled bowel and stomach), so that no threshold finds a class.

Nothing here stems from a patient. A case depends on the cohort's seed and its own number alone.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy import ndimage

from napari_bcp.errors import SettingError, unknown_name
from napari_bcp.files import atomic_path
from napari_bcp.scans.anatomy import AORTA, LIVER, STOMACH, Floats, Painter, Vector, draw_body, rotation
from napari_bcp.scans.classes import ClassSpec, write_classes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

PHANTOM_CLASSES = (
    ClassSpec(LIVER, "liver", "#e69f00"),
    ClassSpec(STOMACH, "stomach", "#56b4e9"),
    ClassSpec(AORTA, "aorta", "#cc79a7"),
)

Size = Literal["tiny", "small", "full"]
SIZES: dict[Size, tuple[int, int, int]] = {"tiny": (40, 36, 28), "small": (64, 56, 44), "full": (96, 80, 64)}

Variant = Literal["plain", "oblique", "anisotropic", "reordered"]
CYCLE: tuple[Variant, ...] = ("plain", "oblique", "anisotropic", "reordered", "plain", "plain")
STORED_AXES = ("LPS", "ASR", "PIR", "LAS", "SRA", "RSP")

WIDTH = 348.0  # mm, field of view along x
SLICES = 3  # slices that an anisotropic scan averages into one


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """One made-up scan with its truth, in canonical axes (RAS+).

    voxels : (x, y, z) int16, arbitrary units.  mask : (x, y, z) uint8, values of PHANTOM_CLASSES.
    spacing : mm.  affine : (4, 4) voxel to mm.  axes : the axis order in which `write_cohort` stores the files.
    """

    name: str
    voxels: NDArray[np.int16]
    mask: NDArray[np.uint8]
    spacing: Vector
    affine: NDArray[np.float64]
    axes: str = "RAS"


def make_case(
    seed: int, index: int, *, shape: tuple[int, int, int] = SIZES["full"], variant: Variant | None = None
) -> PhantomCase:
    """Return case `index` of the cohort `seed`.

    shape : voxels along x, y, z; they are cubes of 348 mm / shape[0]. An anisotropic case has a third of the
    slices, each three times as thick. The same body is drawn whatever the shape.
    variant : one of "plain", "oblique" (the grid is turned against the body), "anisotropic" and "reordered" (stored
    in another axis order); when None it follows from the index.
    Raises SettingError for another variant, a negative number, or a shape without voxels.
    """
    if seed < 0 or index < 0 or min(shape) < 1:
        raise SettingError(f"Phantom case {index} of seed {seed} cannot have shape {shape}: use positive numbers.")
    if variant is not None and variant not in CYCLE:
        raise unknown_name("variant of the phantom", variant, set(CYCLE))
    variant = variant or CYCLE[index % len(CYCLE)]
    rng = np.random.default_rng([seed, index])
    voxel = WIDTH / shape[0]
    thick = SLICES if variant == "anisotropic" else 1
    fine = (shape[0], shape[1], max(1, shape[2] // thick) * thick)
    turn = rotation(rng.uniform(0.12, 0.28), rng.uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1))
    turn = turn if variant == "oblique" else np.eye(3)

    painter = Painter(fine, voxel, turn, rng)
    draw_body(painter)
    image, mask = _thicken(painter.image, painter.mask, thick)
    voxels = _acquire(image, painter.noise(170)[:, :, thick // 2 :: thick], rng)

    spacing = (voxel, voxel, voxel * thick)
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = -affine[:3, :3] @ (np.array(voxels.shape) - 1) / 2
    axes = STORED_AXES[index // len(CYCLE) % len(STORED_AXES)] if variant == "reordered" else "RAS"
    return PhantomCase(f"phantom_{index:03d}", voxels, _largest_pieces(mask), spacing, affine, axes)


def write_cohort(
    folder: str | Path,
    cases: int = 24,
    labelled: int = 4,
    seed: int = 0,
    size: Size = "small",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a cohort of `cases` scans below `folder` and return the folder.

    images/ holds every scan, labels/ the masks of the first `labelled` cases, truth/ the masks of all, and
    classes.json the names and colours of the classes. The same arguments give the same bytes, and a case does not
    depend on how many there are. `progress` is called with (done, total) after each case.
    Raises SettingError for an unknown size or numbers that do not fit together.
    """
    if size not in SIZES:
        raise unknown_name("size of the phantom cohort", size, SIZES)
    if not 0 <= labelled <= cases:
        raise SettingError(f"Of {cases} phantom cases {labelled} cannot have masks: use a number from 0 to {cases}.")
    folder = Path(folder)
    for index in range(cases):
        case = make_case(seed, index, shape=SIZES[size])
        file = f"{case.name}.nii.gz"
        _write(folder / "images" / file, case.voxels, case)
        _write(folder / "truth" / file, case.mask, case)
        if index < labelled:
            _write(folder / "labels" / file, case.mask, case)
        if progress is not None:
            progress(index + 1, cases)
    write_classes(folder / "classes.json", PHANTOM_CLASSES)
    return folder


def _write(path: Path, voxels: NDArray[np.int16] | NDArray[np.uint8], case: PhantomCase) -> None:
    """Write one array of `case` in the case's storage order, byte for byte the same each time."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(case.axes))
    affine = case.affine @ inv_ornt_aff(turn, voxels.shape)
    image = nib.Nifti1Image(apply_orientation(voxels, turn), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as part:
        part.write_bytes(gzip.compress(image.to_bytes(), 4, mtime=0))


def _thicken(image: Floats, mask: NDArray[np.uint8], slices: int) -> tuple[Floats, NDArray[np.uint8]]:
    """Average `slices` neighbouring slices into one; a voxel keeps the class that most of them have."""
    if slices == 1:
        return image, mask
    thick = (*image.shape[:2], -1, slices)
    parts = mask.reshape(thick)
    shares = np.stack([(parts == value).sum(-1) for value in range(len(PHANTOM_CLASSES) + 1)])
    return image.reshape(thick).mean(-1), shares.argmax(0).astype(np.uint8)


def _largest_pieces(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mask with only the largest connected piece of each class."""
    clean = np.zeros_like(mask)
    for spec in PHANTOM_CLASSES:
        pieces, count = ndimage.label(mask == spec.value)
        if count:
            clean[pieces == np.bincount(pieces.ravel())[1:].argmax() + 1] = spec.value
    return clean


def _acquire(image: Floats, shade: Floats, rng: np.random.Generator) -> NDArray[np.int16]:
    """Return the drawn image as a scanner would give it: blurred, unevenly bright, with ghosts and Rician noise."""
    image = np.clip(image, 0, None) ** rng.uniform(0.85, 1.2)
    image = ndimage.gaussian_filter(image, (0.45, 0.45, 0.35))
    image = image * np.exp(rng.uniform(0.08, 0.2) * shade)
    image += rng.uniform(0.005, 0.03) * np.roll(image, image.shape[1] // 2 + 3, 1)
    noise = rng.uniform(0.015, 0.04) * rng.standard_normal((2, *image.shape), np.float32)
    voxels: NDArray[np.int16] = np.rint(rng.uniform(400, 1600) * np.hypot(image + noise[0], noise[1])).astype(np.int16)
    return voxels
