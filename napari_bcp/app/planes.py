"""The other two planes of the open case, beside the one in napari's own canvas: painted in, zoomed and led together."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.qt import QtViewer
from napari.utils.action_manager import action_manager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QLabel, QSplitter, QVBoxLayout, QWidget

from napari_bcp.app.canvas import canvas_of, darken, guard, itself, uncover_brush
from napari_bcp.app.crosshair import Crosshair
from napari_bcp.app.layer_options import ORDER, bind_undo, keep_in_place
from napari_bcp.app.listen import listen
from napari_bcp.app.sides import Sides
from napari_bcp.app.view import PLANES, View, camera_of
from napari_bcp.app.whole import WholeKeeper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_bcp.app.layers import CaseLayers

_SHARED: Final = ("opacity", "name")
_OF_IMAGES: Final = (*_SHARED, "contrast_limits", "blending", "interpolation2d", "visible")
_RULES: Final = ("preserve_labels", "n_edit_dimensions", "contiguous")  # of what brush and bucket may change
_OF_LABELS: Final = (*_SHARED, "contour", "selected_label", "brush_size", *_RULES, "visible")
_BY_HAND: Final = ("selected_label", "brush_size", "mode", *_RULES, "visible")  # may be chosen in any of the views
_OTHERS: Final = 2
_MS: Final = 15  # in which changes of the first view are gathered


class _Plane(QWidget):
    """One plane: a canvas of its own whose layers share the arrays of the first view's."""

    def __init__(self, layers: CaseLayers) -> None:
        super().__init__()
        self._layers = layers
        self.model = ViewerModel()
        self.view = View(self.model)
        told = getattr(action_manager.events, "shortcut_changed", None)  # has another name in napari before 0.9
        with nullcontext() if told is None else told.blocker():  # it binds what is bound already: 0.1 s in the window
            self._canvas = QtViewer(self.model)
        self.model.dims.ndim = 3  # the sliders now, not together with the first layer
        guard(self._canvas.canvas)
        darken(self.model, True)
        uncover_brush(self.model)
        self._whole_keeper = WholeKeeper(self._canvas.canvas.native, self.view)
        self.crosshair = Crosshair(self.model, self._canvas.canvas.native)
        self.sides = Sides(self.model, self._canvas.canvas.native)
        self.title = QLabel()
        self.title.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 2, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.title)
        column.addWidget(self._canvas, 1)
        self._copies: dict[str, tuple[Any, Any]] = {}  # by part: the first view's layer, and ours
        self._colours: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # of the first view, by our layer
        self._setting = False

    @property
    def labels(self) -> Any:
        """The layer of the labels, or None."""
        return self._copies["labels"][1] if "labels" in self._copies else None

    def follow(self, own: dict[str, Any], make: bool = True) -> bool:
        """Let the layers be copies of those of the first view; return whether there was one of each already.

        make : make one that is not there yet; not all at once, since napari takes a while for each
        None is taken away, since that takes napari longer: a copy of nothing is not visible and holds nothing.
        """
        missing = [role for role in ORDER if role in own and role not in self._copies]
        with self._quietly():
            for part, (_, copy) in self._copies.items():
                if part in own:
                    self._copies[part] = own[part], copy
                    self._update(own[part], copy)
                else:
                    self._copies[part] = None, copy
                    self._empty(copy, own.get("scan"))
            for role in missing[: int(make)]:
                below = [one for one in ORDER[: ORDER.index(role)] if one in self._copies]
                self._copies[role] = own[role], self._copy(role, own[role])
                self.model.layers.insert(len(below), self._copies[role][1])
            if self.labels is not None:
                self.model.layers.selection.active = self.labels
        self.sides.show("scan" in own)
        return not missing

    def refresh_labels(self) -> None:
        """Draw the labels anew."""
        if self.labels is not None:
            self.labels.refresh(thumbnail=False, highlight=False, extent=False)

    def drop_stroke(self) -> None:
        """Take back an outline that was begun with the right button and is not closed: else it would be no edit."""
        if self.labels is not None and self.labels.editable and getattr(self.labels, "_block_history", False):
            with self._quietly():
                mode, self.labels.mode = self.labels.mode, "pan_zoom"
                self.labels.mode = mode

    def close_down(self) -> None:
        """Let go of the layers and the canvas."""
        self.drop_stroke()
        self._whole_keeper.close_down()
        self.crosshair.close_down()
        self.sides.close_down()
        self._copies.clear()
        self.model.layers.clear()
        self._canvas.close()
        self._canvas.deleteLater()

    def _copy(self, role: str, source: Any) -> Any:
        """Return a new layer, unseen as yet: napari draws a layer that is visible anew for each thing that is set."""
        geometry = {"scale": source.scale, "translate": source.translate, "units": source.units, "visible": False}
        geometry |= {"axis_labels": source.axis_labels, "name": source.name}
        if isinstance(source, Image):
            image = Image(source.data, contrast_limits=source.contrast_limits, **geometry)
            keep_in_place(image)
            return image
        made = Labels(source.data, colormap=source.colormap, **geometry)
        keep_in_place(made)
        if role == "labels":
            bind_undo(made, self._layers.undo, self._layers.redo)
            made.events.paint.connect(self._layers.take_stroke)
            for name in _BY_HAND:
                getattr(made.events, name).connect(self._chosen_by_hand)
        return made

    def _update(self, source: Any, copy: Any) -> None:
        self._refill(copy, source.data, source)
        for name in ("scale", "translate"):
            if not np.array_equal(getattr(copy, name), getattr(source, name)):
                setattr(copy, name, getattr(source, name))
        if self._colours.get(copy) is not source.colormap:  # they cannot be compared by their values
            copy.colormap = self._colours[copy] = source.colormap
        for name in _OF_IMAGES if isinstance(source, Image) else _OF_LABELS:
            if name == "contour" and not self._layers.view.flat:
                continue  # the first view is in 3-D, where there are no outlines
            value = getattr(source, name)
            if getattr(copy, name) != value:
                setattr(copy, name, value)
        if copy is self.labels:
            copy.editable = source.editable
            if source.editable and self._layers.view.flat:
                copy.mode = source.mode

    def _empty(self, copy: Any, scan: Any) -> None:
        """Let `copy` hold nothing, with the extent of `scan` where there is one: all layers make the sliders' range."""
        shape = copy.data.shape if scan is None else scan.data.shape
        if any(copy.data.strides) or copy.data.shape != shape:
            self._refill(copy, np.broadcast_to(np.zeros((), copy.data.dtype), shape), scan or copy)
            copy.visible = True  # napari looks at its data, and lets go of the former
        if isinstance(copy, Labels):
            copy.editable = False
        if copy.visible:
            copy.visible = False

    def _refill(self, copy: Any, data: NDArray[Any], like: Any) -> None:
        if copy.data is data:
            return
        former, copy.data = copy.data.shape, data
        if former != data.shape:
            copy.scale = like.scale  # also the same: napari learns of another extent here alone if it is not visible

    def _chosen_by_hand(self) -> None:
        if self._setting or self.labels is None:
            return
        source, copy = self._copies["labels"]
        for name in _BY_HAND if copy.visible else ("visible",):  # napari puts the tool of what is hidden down
            if source is not None and source.editable and getattr(source, name) != getattr(copy, name):
                setattr(source, name, getattr(copy, name))
        if copy.mode == "transform":  # which the labels do not have
            copy.mode = "pan_zoom" if source is None else source.mode

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        self._setting = True
        try:
            yield
        finally:
            self._setting = False


class OtherPlanes(QWidget):
    """The two planes that the first view does not show, side by side.

    layers : of the open case in the first view;  viewer : that view

    A move of the mouse with Shift held down leads all three to the voxel under it, and so does a slider; zooming one
    zooms the others. A crosshair shows in each where the other two are. Paint and erase in any of them.
    """

    def __init__(self, layers: CaseLayers, viewer: Any) -> None:
        super().__init__()
        viewer = itself(viewer)
        self._layers, self._viewer = layers, viewer
        self._leading = False
        self._awake = True
        self._part_fit = 0.0  # the zoom of the first view that goes with whole scans in the others, where it is its own
        canvas = canvas_of(viewer)
        self.first_crosshair = None if canvas is None else Crosshair(viewer, canvas.native)
        self._both = QSplitter(Qt.Orientation.Horizontal)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._both)
        self._soon = QTimer(self, interval=_MS, singleShot=True)
        self._soon.timeout.connect(self._follow)
        self._sources: list[Any] = []
        self._shown: object = None  # the scan that all of which was shown
        self.planes: tuple[_Plane, ...] = ()
        self._models: tuple[Any, ...] = ()
        self._join(viewer)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._follow_soon)
        listen(self, layers.changed, self._follow)
        listen(self, layers.edited, self._refresh)
        layers.others = self._labels
        self._follow_soon()

    @property
    def complete(self) -> bool:
        """Whether both planes show all that the first view shows; they are made bit by bit."""
        return not self._soon.isActive()

    def rest(self) -> None:
        """Follow nothing and hold nothing of the case until `wake`."""
        self._awake = False
        self._soon.stop()
        if self.first_crosshair is not None:
            self.first_crosshair.hide()
        self._layers.others = list
        self._listen_to([])
        for plane in self.planes:
            plane.drop_stroke()
            plane.follow({})
        self._shown = None

    def wake(self) -> None:
        """Show the case again."""
        self._awake = True
        if self.first_crosshair is not None:
            self.first_crosshair.show()
        self._layers.others = self._labels
        self._follow()

    def close_down(self) -> None:
        """Listen to nothing any more, and let go of the layers; may be called twice."""
        self._awake = False
        self._soon.stop()
        if self.first_crosshair is not None:
            self.first_crosshair.close_down()
            self.first_crosshair = None
        self._layers.others = list
        self._listen_to([])
        if self._models:
            for event in (self._viewer.layers.events.inserted, self._viewer.layers.events.removed):
                event.disconnect(self._follow_soon)
        for model in self._models:
            model.dims.events.point.disconnect(self._lead)
            camera_of(model).events.zoom.disconnect(self._zoom)
            if self._point in model.mouse_move_callbacks:
                model.mouse_move_callbacks.remove(self._point)
        self._models = ()
        for plane in self.planes:
            plane.close_down()

    def _join(self, model: Any) -> None:
        """Let a view lead the others, and be led by them."""
        self._models = (*self._models, model)
        model.dims.events.point.connect(self._lead)
        camera_of(model).events.zoom.connect(self._zoom)
        model.mouse_move_callbacks.append(self._point)

    def _labels(self) -> list[Any]:
        return [plane.labels for plane in self.planes if plane.labels is not None]

    def _follow(self) -> None:
        """Show the case of the first view, in the two planes that it does not show.

        What is not there yet, canvases and layers, is made one at a turn, so that the window does not stand still.
        """
        if not self._awake:
            return
        own = self._layers.own
        if len(self.planes) < _OTHERS:
            self.planes = (*self.planes, _Plane(self._layers))
            self._both.addWidget(self.planes[-1])
            self._join(self.planes[-1].model)
            return self._soon.start()
        first = self._layers.view.plane if self._layers.view.plane in PLANES else "axial"
        others = [name for name in PLANES if name != first]
        complete = True
        for plane, name in zip(self.planes, others, strict=True):
            plane.view.spacing = self._layers.view.spacing
            plane.title.setText(name.capitalize())
            if own and plane.view.plane != name:
                plane.view.show_plane(name)
            with self._led():
                complete = plane.follow(own, make=complete) and complete
        self._listen_to(list(own.values()))
        if not complete:
            return self._soon.start()
        scan = own["scan"].data if "scan" in own else None
        if scan is not None and scan is not self._shown:
            view = self._layers.view
            self._part_fit = 0.0 if view.shows_whole else float(camera_of(self._viewer).zoom)
            for plane in self.planes:
                plane.view.show_whole()
            self._lead()
        self._shown = scan

    def _listen_to(self, sources: list[Any]) -> None:
        """Follow what is changed at these layers, and at no others."""
        for source in self._sources:
            for name in _followed(source):
                getattr(source.events, name).disconnect(self._follow_soon)
        self._sources = sources
        for source in sources:
            for name in _followed(source):
                getattr(source.events, name).connect(self._follow_soon)

    def _follow_soon(self, _event: Any = None) -> None:
        if self._awake and not self._soon.isActive():
            self._soon.start()

    def _refresh(self) -> None:
        for plane in self.planes:
            plane.refresh_labels()

    def _lead(self, event: Any = None) -> None:
        """Bring all views to the voxel that one of them has gone to."""
        model = self._viewer if event is None else self._model_of(event.source)
        if self._leading or not self._awake or model is None or model.dims.ndim < 3:
            return  # the last: there is no case
        with self._led():
            point = model.dims.point[-3:]
            for other in self._models:
                if other is not model and other.dims.ndim >= 3 and not np.allclose(other.dims.point[-3:], point):
                    first = other.dims.ndim - 3
                    other.dims.set_point(range(first, first + 3), point)

    def _zoom(self, event: Any) -> None:
        """Zoom the other views as one of them was zoomed."""
        camera = event.source
        fits = {id(camera_of(self._viewer)): self._part_fit or self._layers.view.whole} if self._models else {}
        fits |= {id(camera_of(plane.model)): plane.view.whole for plane in self.planes}
        fit = fits.get(id(camera), 0.0)
        if self._leading or not fit or not self._awake:
            return
        with self._led():
            for model in self._models:
                other = camera_of(model)
                if other is not camera and fits[id(other)]:
                    other.zoom = fits[id(other)] * camera.zoom / fit

    def _point(self, model: Any, event: Any) -> None:
        """Lead all views to the voxel under the mouse, with Shift held down."""
        if self._awake and "Shift" in event.modifiers and model.dims.ndisplay == 2 and model.dims.ndim >= 3:
            first = model.dims.ndim - 3
            model.dims.set_point(range(first, first + 3), tuple(event.position[-3:]))

    @contextmanager
    def _led(self) -> Iterator[None]:
        """While it lasts, no view leads the others by what happens to it."""
        former, self._leading = self._leading, True
        try:
            yield
        finally:
            self._leading = former

    def _model_of(self, dims: Any) -> Any:
        return next((model for model in self._models if model.dims is dims), None)


def _followed(layer: Any) -> tuple[str, ...]:
    """Return what of a layer the other planes follow."""
    return ("data", "colormap", *(_OF_IMAGES if isinstance(layer, Image) else ("mode", "editable", *_OF_LABELS)))
