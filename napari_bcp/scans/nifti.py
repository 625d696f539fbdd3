"""Reading and writing NIfTI files, and refusing what is no plain scalar scan.

Nothing that a header says is believed before it is checked against the size of the file, and no memory is asked
for on its word alone. Voxels are read in slabs straight into their canonical place, so that a scan needs little
more memory than its float32 array.
"""

from __future__ import annotations

import gzip
import math
import stat
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np
import psutil
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from napari_bcp.errors import GridMismatchError, MaskError, ScanAwayError, ScanError
from napari_bcp.files import atomic_path
from napari_bcp.scans.geometry import file_view, from_canonical, from_display, grid_from_header, orientation_on
from napari_bcp.scans.volume import Array, Grid, Header, Mask, Scan

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

LARGEST_VALUE = 1e18
"""Intensities beyond this count as not finite: their squares would overflow float32."""

_DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_OTHER_DTYPES = {
    32: "complex numbers",
    1792: "complex numbers",
    2048: "complex numbers",
    128: "colours (RGB)",
    2304: "colours (RGBA)",
    1536: "128-bit numbers",
}
_MAX_DEFLATE = 1032  # deflate cannot shrink bytes by more than this factor (zlib's technical notes)
_SLAB_BYTES = 1 << 24
_WHOLE = 1e-3  # a class may be this far from a whole number, as after a float32 slope
_HEADERS: dict[int, tuple[type[Header], bytes]] = {
    348: (Nifti1Header, b"n+1\0"),
    540: (Nifti2Header, b"n+2\0\r\n\x1a\n"),
}


def stem(path: str | Path) -> str:
    """Return the name of a file without `.nii` or `.nii.gz`, in any case of letters."""
    name = Path(path).name
    for ending in (".nii.gz", ".nii"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def is_nifti(path: str | Path) -> bool:
    """Return whether a name ends in `.nii` or `.nii.gz`."""
    return str(path).lower().endswith((".nii", ".nii.gz"))


def read_grid(path: str | Path) -> Grid:
    """Return where the voxels of a file lie, from its header alone.

    Raises ScanError if the file is no plain scalar scan or smaller than its header says.
    """
    return _open(Path(path))[0]


def read_scan(path: str | Path, *, for_screen: bool = False) -> Scan:
    """Read a scan, its intensities scaled as its header says.

    for_screen : lay the voxels out in memory as `display_arrays` shows them, which then needs no copy

    Voxels that are not finite get the lowest finite value, and a note says so. Raises ScanError if the file is no
    plain scalar scan, broken, without any finite voxel, or larger than the free memory.
    """
    path = Path(path)
    grid, stored = _open(path)
    voxels = _allocate(path, grid.shape, np.float32, stored, for_screen)
    places = file_view(voxels, grid.orientation)
    notes = list(grid.notes)
    low, high, lost = math.inf, -math.inf, 0
    for part, slab in _slabs(path, stored, notes):
        smallest, largest = slab.min(), slab.max()
        if not (smallest >= -LARGEST_VALUE and largest <= LARGEST_VALUE):  # so for NaN too
            slab, count = _without_lost(slab)
            lost += count
            if count == slab.size:
                smallest, largest = math.inf, -math.inf
            else:
                smallest, largest = np.nanmin(slab), np.nanmax(slab)
        low, high = min(low, float(smallest)), max(high, float(largest))
        places[..., part] = slab
    if lost == voxels.size:
        raise ScanError(f"{path} has no finite voxel: export it again or leave it out.", path=path)
    if lost:
        for plane in voxels:
            plane[np.isnan(plane)] = low
        notes.append(f"{path.name} has {lost} voxels that are not finite: they were set to its lowest value, {low:g}.")
    if low == high:
        notes.append(f"{path.name} is {low:g} everywhere: nothing can be seen in it.")
    return Scan(path, voxels, grid, tuple(notes))


def read_mask(
    path: str | Path, grid: Grid, *, classes: Collection[int] | None = None, for_screen: bool = False
) -> Mask:
    """Read the mask of a scan that lies on `grid`; its file may store the axes in another order.

    classes : the values other than 0 that may occur; any from 1 to 255 when None
    for_screen : as `read_scan` has it

    Raises GridMismatchError if its voxels are not those of the grid, MaskError if the file is broken or has
    values that are no classes.
    """
    path = Path(path)
    notes: list[str] = []
    try:
        own, stored = _open(path)
        orientation = orientation_on(grid, own)
        if orientation is None:
            raise _mismatch(path, own, grid)
        voxels = _allocate(path, grid.shape, np.uint8, stored, for_screen)
        places = file_view(voxels, orientation)
        seen = np.zeros(256, bool)
        for part, slab in _slabs(path, stored, notes):
            values = _classes_of(slab, path)
            seen[values] = True
            places[..., part] = values
    except ScanAwayError:
        raise
    except ScanError as error:
        raise MaskError(str(error), path=path) from None
    found = [int(value) for value in np.flatnonzero(seen) if value]
    unknown = sorted(set(found) - set(classes)) if classes is not None else []
    if unknown:
        known = ", ".join(map(str, sorted(classes or ()))) or "not named"
        raise MaskError(
            f"{path} has voxels of class {', '.join(map(str, unknown))}, but the classes are {known}: "
            "correct the mask, or add the class to the pool (Pool › Classes…, or 'napari-bcp classes').",
            path=path,
        )
    if not found:
        notes.append(f"{path.name} is empty: every voxel is background.")
    return Mask(path, voxels, tuple(notes))


def write_mask(path: str | Path, voxels: Array, grid: Grid) -> None:
    """Write classes, (x, y, z) of 0 to 255, as uint8 with the axes, shape, orientation and units of the scan's file.

    Raises GridMismatchError if `voxels` has not the grid's shape, MaskError if it holds no classes.
    """
    _write(Path(path), voxels, grid, slope=1.0, strategy=zlib.Z_RLE)  # half the time, nearly the same size


def write_map(path: str | Path, voxels: Array, grid: Grid) -> None:
    """Write the probability of one class, (x, y, z) of 0 to 255, so that readers see 0 to 1.

    Axes, shape, orientation and units are those of the scan's file. Raises as `write_mask`.
    """
    _write(Path(path), voxels, grid, slope=1 / 255, strategy=zlib.Z_DEFAULT_STRATEGY)


# -- reading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stored:
    """How the voxels of a file are stored: type, place of the first byte, three axes (first fastest), scaling."""

    dtype: np.dtype[np.generic]
    offset: int
    shape: tuple[int, int, int]
    slope: float
    intercept: float

    @property
    def end(self) -> int:
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def _open(path: Path) -> tuple[Grid, _Stored]:
    """Return what the header of a file says, once it is known to fit the file."""
    header, size = _read_header(path)
    file_shape = _file_shape(header, path)
    stored = _stored(header, file_shape, path)
    if stored.end > (size * _MAX_DEFLATE if _is_gzip(path) else size):
        raise ScanError(
            f"{path} is too small for the {' × '.join(map(str, file_shape))} voxels that its header claims: "
            "it is broken, copy or export it again.",
            path=path,
        )
    return grid_from_header(header, file_shape, path), stored


def _is_gzip(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong while reading a file into a ScanError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ScanError(f"{path} is broken or cut short: copy or export it again.", path=path) from None
    except OSError as error:
        raise ScanAwayError(
            f"{path} cannot be read ({error.strerror or error}): check the path and your rights.", path=path
        ) from None


def _uncompressed(path: Path) -> IO[bytes]:
    """Open a file for reading what is in it, uncompressed."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if _is_gzip(path) else path.open("rb")


def _read_header(path: Path) -> tuple[Header, int]:
    """Return the header of a file, as it stands there, and the size of the file in bytes."""
    if not is_nifti(path):
        raise ScanError(f"{path} is no .nii or .nii.gz file: convert it to NIfTI first.", path=path)
    with _reading(path):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise ScanError(f"{path} is not a file: give the .nii or .nii.gz file itself.", path=path)
        if status.st_size == 0:
            raise ScanError(f"{path} is empty: copy or export it again.", path=path)
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
    if zipped != _is_gzip(path):
        now, right = ("compressed", ".nii.gz") if zipped else ("not compressed", ".nii")
        raise ScanError(f"{path} is {now}: if it is a NIfTI file, rename it to end in {right}.", path=path)
    with _reading(path), _uncompressed(path) as opened:
        block = opened.read(540)
    for endianness in ("<", ">"):
        length = int.from_bytes(block[:4], "little" if endianness == "<" else "big")
        if length in _HEADERS and len(block) >= length:
            kind, magic = _HEADERS[length]
            place = 344 if length == 348 else 4
            found = block[place : place + len(magic)]
            if found == magic:
                return kind(block[:length], endianness, check=False), status.st_size
            if found[:3] in (b"ni1", b"ni2"):
                raise ScanError(
                    f"{path} is one half of a pair of files (.hdr and .img): convert the pair to one .nii file.",
                    path=path,
                )
    raise ScanError(f"{path} is no NIfTI file, whatever its name says: export it again as NIfTI.", path=path)


def _file_shape(header: Header, path: Path) -> tuple[int, ...]:
    """Return the shape of a file, two axes or more and nothing but ones from the fourth on."""
    axes = int(header["dim"][0])
    dims = tuple(int(size) for size in header["dim"][1 : axes + 1]) if 1 <= axes <= 7 else ()
    if not dims or min(dims) < 1:
        said = " × ".join(map(str, dims)) or f"{axes} axes"
        raise ScanError(f"{path} has an impossible shape ({said}): it is broken, export it again.", path=path)
    if math.prod(dims[3:]) > 1:
        raise ScanError(f"{path} holds {math.prod(dims[3:])} volumes: save the one to use as a 3-D file.", path=path)
    if sorted((*dims, 1, 1))[-2] < 2:
        raise ScanError(f"{path} is no image (its shape is {' × '.join(map(str, dims))}): leave it out.", path=path)
    return dims


def _stored(header: Header, file_shape: tuple[int, ...], path: Path) -> _Stored:
    """Return how the voxels are stored."""
    code = int(header["datatype"])
    if code not in _DTYPES:
        what = _OTHER_DTYPES.get(code, f"voxels of a type that NIfTI does not know ({code})")
        raise ScanError(f"{path} holds {what}: save it with one plain number a voxel.", path=path)
    dtype = np.dtype(_DTYPES[code]).newbyteorder(header.endianness)
    offset = float(header["vox_offset"])
    first = header.sizeof_hdr + 4
    if not first <= offset < 2**53 or offset != int(offset):
        raise ScanError(
            f"{path} says that its voxels begin at byte {offset:g}, inside its header or nowhere: "
            "it is broken, export it again.",
            path=path,
        )
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):  # NIfTI: not scaled
        slope, intercept = 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise ScanError(f"{path} scales its voxels by {slope:g} and {intercept:g}: export it again.", path=path)
    x, y, z = (*file_shape, 1)[:3]
    return _Stored(dtype, int(offset), (x, y, z), slope, intercept)


def _allocate(
    path: Path, shape: tuple[int, int, int], dtype: type[np.generic], stored: _Stored, for_screen: bool
) -> Array:
    """Return an array to read into, or raise ScanError if it and a slab do not fit the free memory."""
    slab = max(_SLAB_BYTES, stored.shape[0] * stored.shape[1] * stored.dtype.itemsize)
    needed = math.prod(shape) * np.dtype(dtype).itemsize + 4 * slab
    free = psutil.virtual_memory().available
    try:
        if needed > free:
            raise MemoryError
        return from_display(np.empty(shape[::-1], dtype)) if for_screen else np.empty(shape, dtype)
    except MemoryError:
        raise ScanAwayError(
            f"{path} needs {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free: "
            "close other programs, or crop or resample it.",
            path=path,
        ) from None


def _slabs(path: Path, stored: _Stored, notes: list[str]) -> Iterator[tuple[slice, Array]]:
    """Yield the voxels of a file, scaled, slab by slab along its third axis, with the slab's place on that axis.

    Raises ScanError if the file ends early; adds a note if it does not end with its voxels.
    """
    x, y, z = stored.shape
    step = max(1, _SLAB_BYTES // (x * y * stored.dtype.itemsize))
    with _reading(path), _uncompressed(path) as file:
        file.seek(stored.offset)
        for first in range(0, z, step):
            count = min(step, z - first)
            wanted = x * y * count * stored.dtype.itemsize
            block = file.read(wanted)
            if len(block) < wanted:
                raise EOFError
            slab: Array = np.frombuffer(block, stored.dtype).reshape((x, y, count), order="F")
            if (stored.slope, stored.intercept) != (1.0, 0.0):
                with np.errstate(all="ignore"):
                    slab = slab * np.float64(stored.slope) + np.float64(stored.intercept)
            yield slice(first, first + count), slab
        if file.read(1):  # nothing there: a gzip file has been compared with its checksum
            notes.append(f"{path.name} goes on after its last voxel: the rest is not read.")


def _without_lost(values: Array) -> tuple[Array, int]:
    """Return `values` as float32 with NaN for what is not finite or too large, and the number of those voxels."""
    with np.errstate(all="ignore"):
        values = values.astype(np.float32)
        lost = ~(np.abs(values) <= LARGEST_VALUE)
    values[lost] = np.nan
    return values, int(np.count_nonzero(lost))


def _classes_of(values: Array, path: Path) -> NDArray[np.uint8]:
    """Return `values` as uint8, or raise MaskError unless they are whole numbers from 0 to 255."""
    if values.dtype == np.uint8:
        return values
    with np.errstate(all="ignore"):
        whole = values if values.dtype.kind in "iu" else np.rint(values)
        fine = whole is values or bool((np.abs(values - whole) <= _WHOLE).all())  # False for NaN too
    if not fine:
        raise MaskError(
            f"{path} has voxels that are no whole numbers (a map, or a resampled mask): "
            "save it with one class a voxel.",
            path=path,
        )
    if whole.min() < 0 or whole.max() > 255:
        raise MaskError(
            f"{path} has values from {whole.min():g} to {whole.max():g}, but classes go from 0 to 255: "
            "save it with one class a voxel.",
            path=path,
        )
    return whole.astype(np.uint8)


def _mismatch(path: Path, own: Grid, grid: Grid) -> GridMismatchError:
    """Return the error for a mask that does not lie on the grid of its scan."""
    if sorted(own.shape) != sorted(grid.shape):
        how = f"has {' × '.join(map(str, own.shape))} voxels and its scan {' × '.join(map(str, grid.shape))}"
    else:
        how = "lies elsewhere in space than its scan (another orientation, spacing or origin)"
    return GridMismatchError(f"{path} {how}: save it on the scan's grid, or leave it out.", path=path)


# -- writing ----------------------------------------------------------------------------------------------------


def _write(path: Path, voxels: Array, grid: Grid, slope: float, strategy: int) -> None:
    """Write uint8 voxels under the scan's header, changed only in what describes the voxels' type.

    strategy : one of zlib's
    """
    if not is_nifti(path):
        raise MaskError(f"{path} must end in .nii or .nii.gz.", path=path)
    if voxels.shape != grid.shape:
        raise GridMismatchError(
            f"{path} cannot be written: the array has shape {voxels.shape} and its scan {grid.shape}.", path=path
        )
    if voxels.dtype.kind not in "bui" or (voxels.size and not 0 <= int(voxels.min()) <= int(voxels.max()) <= 255):
        raise MaskError(f"{path} cannot be written: its values must be whole numbers from 0 to 255.", path=path)
    header = grid.header.copy()
    header.set_data_dtype(np.uint8)
    header["vox_offset"] = header.sizeof_hdr + 4
    header["scl_slope"], header["scl_inter"] = slope, 0
    header["cal_min"] = header["cal_max"] = 0  # the scan's window does not suit
    header["intent_code"] = 0
    stored = from_canonical(voxels.astype(np.uint8, copy=False), grid)
    content = [header.binaryblock, bytes(4), np.ascontiguousarray(stored.T).data]  # x varies fastest in a file
    if _is_gzip(path):  # zlib's own gzip header has no name and no time: same mask, same bytes
        gzipped = zlib.compressobj(wbits=31, strategy=strategy)
        content = [*map(gzipped.compress, content), gzipped.flush()]
    with atomic_path(path) as part, part.open("wb") as file:
        file.writelines(content)
