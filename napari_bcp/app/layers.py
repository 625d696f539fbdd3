"""The open case as napari layers, and strokes on its labels as edits."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakValueDictionary

import numpy as np
from napari.layers import Image, Labels
from psygnal import Signal

from napari_bcp.app import layer_options
from napari_bcp.app.brushes import Brush, stroke_rule
from napari_bcp.app.island_mark import IslandMark
from napari_bcp.app.layer_data import atom_of, differences, first_box, is_drawn
from napari_bcp.app.layer_options import CHANGES, NONE_YET, ORDER, UNCERTAIN, from_clear, remember_options, set_options
from napari_bcp.app.reader import class_options, source_options
from napari_bcp.app.view import Plane, View
from napari_bcp.app.wording import STROKE_GOES_ON
from napari_bcp.scans.classes import default_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_bcp.app.edits import Edits
    from napari_bcp.app.opened import OpenCase
    from napari_bcp.app.session import Session
    from napari_bcp.pool.edit_records import Box

Overlay = Literal["map", "uncertainty", "nothing"]

_FILLED: Final = 0.5  # opacity of labels that are drawn as areas
_JUDGED: Final = ("accepting", "rejecting", "reopening")

_canvases: WeakValueDictionary[int, CaseLayers] = WeakValueDictionary()  # by the id of their session


class CaseLayers:
    """The layers of a session's open case in a viewer: `scan`, `map: CLASS`, `uncertainty`, `labels`.

    They are made with the first case, filled anew with each other one, and taken away when none is open. Beside them
    come and go `island` and `changes`. The user's own layers stay as they are. A session has one canvas: making a
    second one closes the first.
    """

    changed = Signal()
    """The chosen class, what lies over the scan, the plane or the set of layers is another one."""
    edited = Signal()
    """The labels, or what can be undone, have changed."""

    def __init__(self, session: Session, viewer: Any) -> None:
        self._session, self._viewer = session, viewer
        self._case: OpenCase | None = None
        self._edits: Edits | None = None
        self._own: dict[str, Any] = {}  # layers by the part they play; an Image or Labels each
        self._chosen = 0
        self._overlay: Overlay = "map"
        self._opacity, self._filled = 0.4, False
        self._brush: Brush = "plain"
        self._cleared = False  # whether layers that would lie before the labels are hidden, in 3-D
        self._scan_hidden = False  # whether the scan was hidden before that
        self.view = View(viewer)
        self._labels_come = False  # whether the layer of the labels is still to be made
        self._setting = False  # whether a layer is being changed from here, not by the user
        self._painted: Any = None  # the layer whose stroke is being taken in
        self.others: Callable[[], list[Any]] = list  # layers in other views that paint in the same labels
        self._tool = "paint"  # the user's choice, to go back to where a tool had to be put down
        self._window = ""  # the CT window that the reader has chosen, for the next cases too
        self.island = IslandMark(self.view, self._place, self._drop)
        self.show_here()

    def show_here(self) -> None:
        """Show the case in this viewer, and no more in another one that has taken it."""
        if self.closed:
            _canvases.get(id(self._session), self).close()
            _canvases[id(self._session)] = self
            self._session.painting = self._is_painting
            for signal, method in self._signals():
                signal.connect(method)
            self._open()

    @property
    def own(self) -> dict[str, Any]:
        """The layers by the part they play."""
        return self._own

    @property
    def closed(self) -> bool:
        """Whether the case is not shown here: another viewer has taken it, or `close` was called."""
        return _canvases.get(id(self._session)) is not self

    def _signals(self) -> Iterator[tuple[Any, Callable[..., object]]]:
        yield self._session.case_opened, self._open
        yield self._session.cases_changed, self._follow_status
        yield self._session.map_changed, self._follow_map
        yield self._session.busy_changed, self._set_editable
        yield self._viewer.layers.events.removed, self._removed
        yield self._viewer.dims.events.point, self._looked
        yield self._viewer.dims.events.order, self._turned
        yield self._viewer.dims.events.ndisplay, self._turned

    def close(self) -> None:
        """Take the own layers away and listen to nothing any more. May be called twice."""
        if self.closed:
            return
        del _canvases[id(self._session)]
        self._cleared = False
        self._session.painting = bool
        self._follow_edits(None)
        self._take_away()
        self._case = None
        for signal, method in self._signals():
            signal.disconnect(method)
        self.changed.emit()

    # -- what is shown, and how -------------------------------------------------------------------------------

    @property
    def chosen(self) -> int:
        """Value of the class that is painted, and whose map is shown; 0 without classes."""
        return self._chosen

    def choose(self, value: int) -> None:
        """Paint class `value`, and show its map. A value of no class is left aside."""
        labels = self._own.get("labels")  # it may paint the background though a class is chosen
        chosen = value == self._chosen and (labels is None or labels.selected_label == value)
        if self._case is None or chosen or value not in self._values():
            return
        self._chosen = value
        if labels is not None:
            with self._quietly():
                labels.selected_label = value
        self._activate()
        self._ask_for_class()
        self.changed.emit()

    @property
    def overlay(self) -> Overlay:
        """What lies over the scan."""
        return self._overlay

    def show_overlay(self, which: Overlay) -> None:
        """Show the chosen class's map over the scan, or the uncertainty, or nothing."""
        self._overlay = which
        self._show_overlays()
        self.changed.emit()

    def _show_overlays(self) -> None:
        with self._quietly():
            for role in NONE_YET.keys() & self._own:
                self._own[role].visible = role == self._overlay and self.view.flat

    @property
    def opacity(self) -> float:
        """Opacity of the map and the uncertainty, 0 to 1."""
        return self._opacity

    def set_opacity(self, opacity: float) -> None:
        """Set the opacity of the map and the uncertainty, 0 to 1."""
        self._opacity = opacity
        with self._quietly():
            for role in NONE_YET.keys() & self._own:
                self._own[role].opacity = opacity
        self.changed.emit()

    @property
    def filled(self) -> bool:
        """Whether labels are drawn as areas; else as outlines, which leave the scan in sight."""
        return self._filled

    def set_filled(self, filled: bool) -> None:
        """Draw labels as areas, or as outlines."""
        self._filled = filled
        self._outline(flat=self.view.flat)
        self.changed.emit()

    def _outline(self, flat: bool) -> None:
        labels = self._own.get("labels")
        if labels is not None:
            labels.contour = 0 if self._filled or not flat else 1  # in 3-D napari draws areas alone
            labels.opacity = _FILLED if self._filled and flat else 1.0

    @property
    def brush(self) -> Brush:
        """What strokes of the brush and the eraser do."""
        return self._brush

    def take_brush(self, brush: Brush) -> None:
        """Let strokes paint all they cover, only where map or grey values agree, or draw the border to them."""
        self._brush = brush
        labels = self._own.get("labels")
        if labels is not None and labels.editable and labels.mode not in ("paint", "erase"):
            labels.mode = "paint"
        self._activate()
        self.changed.emit()

    def set_contrast(self, low: float, high: float, window: str = "") -> None:
        """Show the scan's values from `low` (black) to `high` (white); a CT `window` of that name in the next case."""
        self._window = window
        if "scan" in self._own:
            self._own["scan"].contrast_limits = (low, high)

    def set_plane(self, plane: Plane) -> None:
        """Show the case in `plane`, at the voxel where it is."""
        if plane == "3-D":
            self._outline(flat=False)  # before it is shown: napari complains of an outline in 3-D
        self.view.show_plane(plane)

    def go_to_slice(self, axis: int, index: int) -> None:
        """Show slice `index` across `axis` (z, y, x) of the case."""
        if self._case is not None:
            self.view.go_to_slice(axis, index)

    # -- changes ----------------------------------------------------------------------------------------------

    @property
    def changes_shown(self) -> bool:
        """Whether the layer `changes` is there."""
        return "changes" in self._own

    def show_changes(self, shown: bool) -> None:
        """Show, or no more, what differs from the labels that the reader began with."""
        if shown and self._case is not None:
            self._session.ask_current(lambda case: differences(case.labels, case.proposal), self._place_changes)
        else:
            self._drop("changes")

    # -- undo -------------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Take the newest edit back and show where it was. Nothing during a stroke, nor in a case that is locked."""
        if self._edits is not None and self._free():
            self._show_box(self._edits.undo())

    def redo(self) -> None:
        """Make the newest undone edit again and show where it is."""
        if self._edits is not None and self._free():
            self._show_box(self._edits.redo())

    def _free(self) -> bool:
        """Return whether the labels may be changed now; says so where only a stroke, or an open shape, forbids it."""
        painting = self._may_edit() and self._is_painting()
        if painting:
            self._session.say(STROKE_GOES_ON)
        return self._may_edit() and not painting

    def _may_edit(self) -> bool:
        """Return whether the labels may be changed; what is being judged has to stay what it is."""
        return self._case is not None and self._case.editable and self._session.busy not in _JUDGED

    def _is_painting(self) -> bool:
        # while a stroke goes on, napari holds its history open
        return any(getattr(one, "_block_history", False) for one in (*self.others(), self._own.get("labels")))

    def _show_box(self, box: Box | None) -> None:
        """Move the slider to what has changed, unless it can be seen already."""
        if box is not None and not self.view.in_sight(box):
            middle = box[self.view.axis]
            self.go_to_slice(self.view.axis, (middle.start + middle.stop - 1) // 2)

    # -- the case ---------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Show the session's current case; called again when it is another one."""
        case = self._session.current
        former, self._case = self._case, case
        if case is former and self.complete and case is not None:  # who comes back finds it as it was left
            return
        self.island.begin(None if case is None else case.scan.shape)
        self._drop("changes")
        if case is None:
            self._follow_edits(None)
            self._take_away()
            self.changed.emit()
            return
        looked = case.looked
        if self._chosen not in self._values():
            self._chosen = next(iter(self._values()), 0)
            if "labels" in self._own:
                self._own["labels"].selected_label = self._chosen
        with self._quietly():
            for role in NONE_YET.keys() & self._own:  # till its own is read: no other case's map may lie over this scan
                name = self._own[role].name if case.map is not None else NONE_YET[role]
                self._place(role, name, np.broadcast_to(np.uint8(0), case.scan.shape))
            contrast = {**case.windows, "whole range": case.whole_range}.get(self._window, case.contrast)
            source = source_options(case.case.path)  # so that what is saved from the layers lies on the scan
            self._place("scan", "scan", case.scan, contrast_limits=contrast, **source)
        self._labels_come = "labels" not in self._own
        self._follow_edits(case.edits)
        if self._labels_come:  # in a turn of their own: napari takes a while for each new layer
            self._session.give_current(self._place_labels)
        else:
            self._place_labels(case)
        self.view.spacing = case.spacing_zyx
        self.view.look_around(case.centre, first=former is None)
        case.looked = looked  # whatever napari has told of slices meanwhile
        self._ask_for_map()
        self.changed.emit()

    def _place_labels(self, case: OpenCase) -> None:
        if case is self._case:
            self._labels_come = False
            looks = class_options(case.classes) | source_options(case.case.path)
            self._place("labels", "labels", case.labels, **looks)
            self._activate()
            self._set_editable()
            self.changed.emit()

    def _follow_status(self, names: frozenset[str]) -> None:
        """Lock the labels of a case that is accepted, free those of one that is reopened."""
        case = self._session.current
        if case is None or case is not self._case or (names and case.name not in names):
            return
        if case.edits is not self._edits:
            self._follow_edits(case.edits)
            self._place("labels", "labels", case.labels)
            if self.changes_shown:
                self.show_changes(True)
        self._set_editable()
        self.edited.emit()

    def _set_editable(self) -> None:
        labels = self._own.get("labels")
        if labels is not None and self._case is not None and labels.editable != self._may_edit():
            with self._quietly():
                self._lock_or_free(labels)

    def _lock_or_free(self, labels: Any) -> None:
        labels.editable = self._may_edit()
        if labels.editable:
            labels.mode = self._tool

    def _follow_edits(self, edits: Edits | None) -> None:
        if self._edits is not None:
            self._edits.changed.disconnect(self._show_edit, missing_ok=True)
        self._edits = edits
        if edits is not None:
            edits.changed.connect(self._show_edit)

    def _show_edit(self, box: Box) -> None:
        """Show what has changed in the labels; a stroke is on the screen already."""
        labels = self._own.get("labels")
        if labels is not None and labels is not self._painted and self.view.in_sight(box):
            labels.refresh(thumbnail=False, highlight=False, extent=False)
        layer = self._own.get("changes")
        if layer is not None and self._case is not None:
            layer.data[box] = differences(self._case.labels[box], self._case.proposal[box])
            layer.refresh(thumbnail=False, highlight=False, extent=False)
        self.edited.emit()

    # -- the map ----------------------------------------------------------------------------------------------

    def _follow_map(self, name: str) -> None:
        if self._case is not None and self._case.name == name:
            self._ask_for_map()
            if self.changes_shown:
                self.show_changes(True)
            self.changed.emit()

    def _ask_for_map(self) -> None:
        """Read the map of the chosen class, and the uncertainty, without holding the screen up."""
        if self._case is None or not self._chosen:
            return
        if self._case.map is None:
            return self._make_room_for_maps()
        self._ask_for_class()
        place = partial(self._place_over, "uncertainty", "uncertainty", colours=UNCERTAIN)
        self._session.ask_current(lambda case: case.uncertainty(), place)

    def _ask_for_class(self) -> None:
        """Read the map of the chosen class alone."""
        value = self._chosen
        if self._case is not None and self._case.map is not None and value:
            self._session.ask_current(lambda case: case.probability(value), lambda map_: self._place_map(value, map_))

    def _make_room_for_maps(self) -> None:
        """Make the layers of a map that is to come, one at a time: napari takes a while for each."""
        for role in [one for one in NONE_YET if one not in self._own]:
            place = partial(self._place_over, role, NONE_YET[role], colours=UNCERTAIN)
            self._session.ask_current(lambda case: np.broadcast_to(np.uint8(0), case.scan.shape), place)

    def _place_map(self, value: int, probability: NDArray[np.uint8]) -> None:
        if self._case is None or value != self._chosen:
            return  # another class has been chosen meanwhile
        named = {one.value: (one.name, one.colour) for one in self._case.classes}
        name, colour = named.get(value, (f"class {value}", default_colour(value)))
        self._place_over("map", f"map: {name}", probability, from_clear(colour))

    def _place_over(self, role: Overlay, name: str, data: NDArray[np.uint8], colours: Any) -> None:
        looks = {"colormap": colours, "contrast_limits": (0, 255), "opacity": self._opacity}
        self._place(role, name, data, visible=self._overlay == role and self.view.flat, **looks)

    def _place_changes(self, changes: NDArray[np.uint8]) -> None:
        self._place("changes", "changes", changes, **CHANGES)
        self.changed.emit()

    # -- layers -----------------------------------------------------------------------------------------------

    def _place(self, role: str, name: str, data: NDArray[Any], **options: Any) -> None:
        """Show `data` in the layer of `role`: in the one that is there, which is faster and does not flicker."""
        if self._case is None:
            return
        layer = self._own.get(role)
        geometry = {"scale": self._case.spacing_zyx, "translate": options.pop("translate", (0.0, 0.0, 0.0))}
        with self._quietly():
            if layer is None:
                kind = Image if role in ("scan", "map", "uncertainty") else Labels
                if kind is Image:
                    options = {**options, "blending": "translucent", "interpolation2d": "linear"}
                options = {**options, **geometry, "units": ("mm",) * 3, "axis_labels": ("z", "y", "x")}
                layer = kind(data, name=name, **options)
                remember_options(layer, options)
                return self._add(role, layer)
            self._refill(layer, data, {"name": name, **geometry, **options})

    def _refill(self, layer: Any, data: NDArray[Any], options: dict[str, Any]) -> None:
        """Put other data into a layer, with nothing left of what napari could undo in the former."""
        if isinstance(layer, Labels):
            layer.editable = False  # empties napari's own undo history, which would write into the new data
        if layer.data is not data:
            former, layer.data = layer.data.shape, data
            if former != data.shape and not layer.visible:
                layer.scale = options.get("scale", layer.scale)  # napari learns of another extent here alone then
        set_options(layer, options)
        if isinstance(layer, Labels):
            self._lock_or_free(layer)

    def _add(self, role: str, layer: Any) -> None:
        """Put a new layer into its place among the own ones, with the labels staying the active layer."""
        layers = self._viewer.layers
        below = [self._own[one] for one in ORDER[: ORDER.index(role)] if one in self._own]
        place = 1 + max((layers.index(one) for one in below), default=len(layers) - 1)
        self._own[role] = layer
        layer_options.keep_in_place(layer)
        layers.insert(place, layer)
        if role == "labels":
            self._prepare_labels(layer)
        elif role in ("map", "uncertainty"):
            layer.events.visible.connect(self._overlay_by_hand)
            layer.events.opacity.connect(self._opacity_by_hand)
        self._activate()

    def _activate(self) -> None:
        """Let the labels be the layer that brush and keys are for; a click on another one has taken them away."""
        if "labels" in self._own:
            self._viewer.layers.selection.active = self._own["labels"]

    def _prepare_labels(self, labels: Any) -> None:
        labels.selected_label, labels.brush_size, labels.mode = self._chosen, 10, self._tool
        labels.iso_gradient_mode = "smooth"  # the usual one draws stripes on slopes
        self.set_filled(self._filled)
        layer_options.bind_undo(labels, self.undo, self.redo)
        labels.events.paint.connect(self.take_stroke)
        labels.events.selected_label.connect(self._class_by_hand)
        labels.events.data.connect(self._data_by_hand)
        labels.events.mode.connect(self._tool_by_hand)

    def _drop(self, role: str) -> None:
        layer = self._own.pop(role, None)
        if layer is None or layer not in self._viewer.layers:
            return
        self._viewer.layers.remove(layer)
        self._activate()

    def _take_away(self) -> None:
        labels = self._own.get("labels")
        if labels is not None:  # Mesa dies drawing an empty canvas after a layer without a brush; see `canvas.guard`
            with self._quietly():
                labels.visible = labels.editable = True
                labels.mode = "paint"
        for role in list(self._own):
            self._drop(role)

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """While it lasts, what the layers report is not taken for the user's doing."""
        former, self._setting = self._setting, True
        try:
            yield
        finally:
            self._setting = former

    # -- what the user does with the layers -------------------------------------------------------------------

    def take_stroke(self, event: Any) -> None:
        """Hand what napari has painted over as one edit; napari's own undo is not needed then, and takes memory."""
        labels = event.source
        if self._edits is None:
            return
        atoms, rule = [atom_of(one) for one in event.value], None
        if labels.mode in ("paint", "erase") and self._case is not None and is_drawn(self._case.labels, atoms):
            paints = labels.mode == "paint" and labels.selected_label != 0
            rule = stroke_rule(self._case, self._brush, self._chosen, paints, first_box(atoms))
        name = str(labels.mode) if rule is None or self._brush != "smart" else "scribble"
        self._painted = labels if rule is None else None
        try:
            self._edits.record_stroke(atoms, operation=name, rule=rule)
            if rule is not None:  # also where nothing is left of the stroke
                labels.refresh(thumbnail=False, highlight=False, extent=False)
        finally:
            self._painted = None
            labels._undo_history.clear()  # noqa: SLF001 (the public way, editable = False, would end the tool)

    def _class_by_hand(self) -> None:
        """Follow the class that is chosen in napari; a number that is no class's goes on to the next that is."""
        labels = self._own.get("labels")
        if labels is None or self._setting or labels.selected_label in (0, self._chosen):
            return
        value = layer_options.class_for(int(labels.selected_label), self._chosen, self._values())
        with self._quietly():
            labels.selected_label = value
        self.choose(value)

    def _data_by_hand(self) -> None:
        """Take in labels that something else has put into the layer, and put the case's own array back."""
        labels, edits = self._own.get("labels"), self._edits
        if self._setting or labels is None or edits is None or labels.data is edits.array:
            return
        given = np.asarray(labels.data)
        with self._quietly():
            self._refill(labels, edits.array, {})
        if self._free():
            self._session.edit_current("replace", given)

    def _overlay_by_hand(self) -> None:
        if self._setting:
            return
        shown = [role for role in ("map", "uncertainty") if role in self._own and self._own[role].visible]
        self._overlay = "uncertainty" if shown == ["uncertainty"] else "map" if shown else "nothing"
        self.changed.emit()

    def _opacity_by_hand(self, event: Any) -> None:
        if not self._setting:
            self._opacity = float(event.source.opacity)
            self.changed.emit()

    def _removed(self, event: Any) -> None:
        """Forget an own layer that the user has deleted; it comes back with the next case, or by `restore`."""
        for role in [one for one, layer in self._own.items() if layer is event.value]:
            del self._own[role]
            self.changed.emit()

    @property
    def complete(self) -> bool:
        """Whether the scan and its labels are there; a user may have deleted them."""
        return self._case is None or self._labels_come or {"scan", "labels"} <= set(self._own)

    def restore(self) -> None:
        """Put layers of the open case back that the user has deleted."""
        self._open()

    def _turned(self) -> None:
        self._clear_the_view()
        self._guard_tool()
        self.changed.emit()

    def _clear_the_view(self) -> None:
        """In 3-D show the labels alone: scan and maps are blocks that hide them."""
        flat = self.view.flat
        if flat != self._cleared:
            return
        self._cleared = not flat
        scan = self._own.get("scan")
        if scan is not None:
            self._scan_hidden = self._scan_hidden if flat else not scan.visible
            scan.visible = flat and not self._scan_hidden
        self._show_overlays()
        self._outline(flat)

    def _looked(self, _event: Any = None) -> None:
        """Note that the reader goes through the slices: the labels had better stay as they are."""
        if self._case is not None:
            self._case.look()
        self._guard_tool()

    def _guard_tool(self) -> None:
        """Put the tool down while the slider is outside the scan, where napari fails to paint (napari#7325)."""
        labels = self._own.get("labels")
        if labels is None or self._case is None or self._setting or not labels.editable:
            return
        size = self._case.labels.shape[self.view.axis]
        outside = self.view.flat and not 0 <= self.view.index < size
        tool = "pan_zoom" if outside else self._tool
        with self._quietly():
            if labels.mode != tool:
                labels.mode = tool

    def _tool_by_hand(self) -> None:
        """Remember the tool that the user takes; outside the scan it is for later, and none moves the labels."""
        labels = self._own["labels"]
        if not self._setting and labels.editable:
            self._tool = self._tool if labels.mode == "transform" else str(labels.mode)
            self._guard_tool()

    def _values(self) -> list[int]:
        return [] if self._case is None else [one.value for one in self._case.classes]
