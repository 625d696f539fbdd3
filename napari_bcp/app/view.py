"""Where in a case the viewer looks: plane, slice, place and zoom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_bcp.pool.edit_records import Box

Plane = Literal["axial", "coronal", "sagittal", "3-D"]

PLANES: Final[dict[Plane, tuple[int, int, int]]] = {
    "axial": (0, 1, 2),
    "coronal": (1, 0, 2),
    "sagittal": (2, 0, 1),
}
"""Axes of the display arrays (z, y, x) in napari's order: the first is the one that the slider moves along."""

_ZOOMED_IN: Final = 1.2  # times the zoom that shows the whole scan


class View:
    """The place that a viewer shows of arrays with the axes z, y, x; `spacing` is theirs in mm."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self.spacing: Sequence[float] = (1.0, 1.0, 1.0)
        self.whole = 0.0
        """The zoom that shows the whole scan in the canvas as it was when that was found out; 0 if it was not."""

    @property
    def flat(self) -> bool:
        """Whether a plane is shown, and not 3-D."""
        return bool(self._viewer.dims.ndisplay == 2)

    @property
    def plane(self) -> Plane | None:
        """The plane that is shown, or None for an order of axes that is none of PLANES."""
        if not self.flat:
            return "3-D"
        order = tuple(axis - self._first_axis for axis in self._viewer.dims.order[-3:])
        return next((name for name, axes in PLANES.items() if axes == order), None)

    @property
    def axis(self) -> int:
        """Axis that the shown plane is cut across; in 3-D that of the last plane."""
        return max(0, int(self._viewer.dims.order[-3]) - self._first_axis) if self._viewer.dims.ndim >= 3 else 0

    @property
    def index(self) -> int:
        """The slice that is shown across that axis."""
        here: float = self._viewer.dims.point[self._first_axis + self.axis]
        return round(here / self.spacing[self.axis])

    def in_sight(self, box: Box) -> bool:
        """Return whether something of `box` can be seen."""
        part = box[self.axis]
        return not self.flat or bool(part.start <= self.index < part.stop)

    def show_plane(self, plane: Plane) -> None:
        """Show `plane`, at the voxel where the view is."""
        dims, first = self._viewer.dims, self._first_axis
        dims.ndisplay = 3 if plane == "3-D" else 2
        if plane != "3-D":
            dims.order = (*range(first), *(first + axis for axis in PLANES[plane]))
            self.show_whole()

    def go_to_slice(self, axis: int, index: int) -> None:
        """Show slice `index` across `axis`."""
        self._viewer.dims.set_point(self._first_axis + axis, index * self.spacing[axis])

    def look_at(self, voxel: Sequence[int]) -> None:
        """Show `voxel` in the middle of the canvas."""
        dims, first = self._viewer.dims, self._first_axis
        place = [n * mm for n, mm in zip(voxel, self.spacing, strict=True)]
        dims.set_point([first + axis for axis in range(3)], place)
        displayed = [place[axis - first] for axis in dims.displayed if axis >= first]
        self._camera.center = tuple([0.0, *displayed][-3:])

    def look_around(self, voxel: Sequence[int], first: bool) -> None:
        """Show the slices of `voxel`: the whole scan if it is the first, at the reader's own zoom from then on."""
        camera = self._camera
        zoom = camera.zoom
        self.show_whole()
        center = camera.center
        self.look_at(voxel)
        if not first and zoom > _ZOOMED_IN * self.whole:
            camera.zoom = zoom
        else:
            camera.center = center

    @property
    def shows_whole(self) -> bool:
        """Whether the whole of a scan is shown, flat, and no other part of it."""
        return self.flat and bool(self._viewer.layers) and abs(self._camera.zoom - self.whole) < 0.01 * self.whole

    def show_whole(self) -> None:
        """Show the whole scan; meanwhile `whole` is 0."""
        self.whole = 0.0
        self._viewer.reset_view(reset_camera_angle=False)
        self.whole = float(self._camera.zoom)

    @property
    def _camera(self) -> Any:
        return camera_of(self._viewer)

    @property
    def _first_axis(self) -> int:
        """Which of the viewer's axes is z: layers with more axes come before it."""
        return max(0, int(self._viewer.dims.ndim) - 3)


def camera_of(viewer: Any) -> Any:
    """Return a viewer's camera."""
    return getattr(viewer, "scene", viewer).camera  # napari before 0.9 has it at the viewer itself
