"""Review: the open case, its map, the tools that mend its labels, and the reader's verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QSlider,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_bcp.app.canvas import canvas_of, enter
from napari_bcp.app.layers import CaseLayers
from napari_bcp.app.listen import listen
from napari_bcp.app.opened import HALF
from napari_bcp.app.panels.review_keys import BRUSHES, CLEAN_UPS, KEYS
from napari_bcp.app.panels.review_lists import ReviewLists
from napari_bcp.app.panels.review_parts import Segments, SettlingSlider, bold, holding, line_across, row_of, swatch
from napari_bcp.app.panels.verdict import Verdict
from napari_bcp.app.parts import button, guard_wheel, wrapped_label
from napari_bcp.app.planes_dock import PlanesDock
from napari_bcp.app.shortcuts import Shortcuts
from napari_bcp.app.status_icons import status_icon
from napari_bcp.app.whole import WholeKeeper
from napari_bcp.app.wording import STROKE_GOES_ON
from napari_bcp.review.waiting import WAITING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtGui import QHideEvent

    from napari_bcp.app.opened import OpenCase
    from napari_bcp.app.session import Session
    from napari_bcp.app.theme import Colours
    from napari_bcp.review.islands import Island

_OVERLAYS: Final = ("Map", "Uncertainty", "Nothing")
_LISTS_MS: Final = 1500  # after the last edit: reading the whole volume at each stroke would be felt
_SAVED_EVERY_MS: Final = 1000


class ReviewPanel(QWidget):
    """The tools for the open case of `session`; its layers in `viewer` are `layers`."""

    def __init__(self, session: Session, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._colours: Colours | None = None
        self._case: OpenCase | None = None
        self._listed_axis = 0  # of the slices worth a look
        self._elsewhere = False  # whether another window shows the case
        self._slid_at = 0  # version of the labels that the border moves in
        self._restoring = False  # whether the next edit puts an island back
        self._viewer = viewer
        self.layers = CaseLayers(session, viewer)
        self._planes = PlanesDock(self.layers, viewer, self)
        canvas = self._canvas = canvas_of(viewer)
        self.whole_keeper = None if canvas is None else WholeKeeper(canvas.native, self.layers.view)
        self._make_head()
        self._make_tools()
        self._make_lists()
        self.verdict = Verdict(session, self._may_judge)
        self._lay_out()
        self._shortcuts = Shortcuts(self, viewer)
        self._make_shortcuts()

        self._lists_timer = QTimer(self, interval=_LISTS_MS, singleShot=True)
        self._lists_timer.timeout.connect(self._ask_for_lists)
        self._saved_timer = QTimer(self, interval=_SAVED_EVERY_MS)
        self._saved_timer.timeout.connect(self.verdict.show_saved)
        self._saved_timer.start()
        listen(self, session.case_opened, self._show_case)
        listen(self, session.case_loading, self._show_loading)
        listen(self, session.cases_changed, self._follow_status)
        listen(self, session.map_changed, self._follow_map)
        listen(self, session.busy_changed, self._show_possible)
        listen(self, self.layers.changed, self._show_canvas)
        listen(self, self.layers.edited, self._follow_edit)
        self._show_case()

    def close_down(self) -> None:
        """Take the case's layers out of the viewer, for a panel that goes away; the session goes on."""
        self._border.finish()
        self._saved_timer.stop()
        self._lists_timer.stop()
        self._shortcuts.close_down()
        self._planes.close()
        if self.whole_keeper is not None:
            self.whole_keeper.close_down()
        self.layers.close()

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self._colours = colours
        self.verdict.set_colours(colours)
        self._show_status()

    def hideEvent(self, event: QHideEvent) -> None:
        """Let nothing hang in the air: what a slider previews becomes an edit."""
        self._border.finish()
        super().hideEvent(event)

    # -- making -----------------------------------------------------------------------------------------------

    def _make_head(self) -> None:
        self._name = QElidingLabel()
        bold(self._name)
        self._status_sign, self._status = QLabel(), QLabel()
        self._source = wrapped_label()
        self._newer = button(
            "Take the newer proposal",
            "A newer map has come since you began to look at this case: begin with its pseudo-label",
            self._take_newer,
        )
        self._undo = button("Undo", "", self.layers.undo)
        self._redo = button("Redo", "", self.layers.redo)
        self._revert = button(
            "Revert",
            f"Go back to the labels that this case began with; can be undone ({_key('revert')})",
            self._do_revert,
        )
        self._changes = button(
            "What changed",
            f"Show what you added (green) and removed (magenta) since the beginning ({_key('what changed')})",
            checkable=True,
        )
        self._changes.clicked.connect(self.layers.show_changes)
        self._restore_layers = button("Show the layers again", "Put layers back that were deleted", self.layers.restore)

    def _make_tools(self) -> None:
        self._classes = QComboBox()
        self._classes.setToolTip("The class that is painted and whose map is shown (keys − and = on the canvas)")
        self._classes.setAccessibleName("Class")
        self._classes.activated.connect(lambda _: self.layers.choose(self._classes.currentData()))
        self._overlay = Segments(
            [
                ("Map", f"The chosen class's probability over the scan ({_key('overlay')}: the next of the three)"),
                ("Uncertainty", "Where the model wavers between classes"),
                ("Nothing", "The scan and its labels alone"),
            ]
        )
        self._overlay.chosen.connect(lambda name: self.layers.show_overlay(name.lower()))
        self._look = Segments(
            [
                ("Outline", f"Draw the labels as outlines, with the scan in sight ({_key('outline')} changes)"),
                ("Area", f"Draw the labels as areas ({_key('outline')} changes)"),
            ]
        )
        self._look.chosen.connect(lambda name: self.layers.set_filled(name == "Area"))
        self._brush = Segments(BRUSHES)
        self._brush.chosen.connect(lambda name: self.layers.take_brush(name.lower()))
        self._opacity = QSlider(Qt.Orientation.Horizontal)
        self._opacity.setRange(0, 100)
        self._opacity.setToolTip("How strongly the map covers the scan")
        self._opacity.setAccessibleName("Opacity of the map")
        self._opacity.valueChanged.connect(lambda percent: self.layers.set_opacity(percent / 100))
        self._stamp = QLabel()
        self._border = SettlingSlider(
            1, 99, "Border of the chosen class along its map: voxels from this probability on belong to it"
        )
        self._border.previewed.connect(lambda percent: self._set_border(percent, final=False))
        self._border.settled.connect(lambda percent: self._set_border(percent, final=True))
        self._clean_ups = {
            name: button(text, f"{tip} ({_key(name)})", self._clean_up(name)) for name, text, tip in CLEAN_UPS
        }
        self._plane = Segments([(name, f"{name} ({_key(name)})") for name in ("axial", "coronal", "sagittal", "3-D")])
        self._plane.chosen.connect(self.layers.set_plane)
        guard_wheel(self._classes, self._opacity, self._border.slider)  # the panel is scrolled over them
        self._three = button(
            "All three",
            f"Show the other two planes below, to scroll and to paint in; Shift and the mouse lead all three "
            f"({_key('three planes')})",
            checkable=True,
        )
        self._three.clicked.connect(self.show_planes)
        self._planes.shown_changed.connect(self._three.setChecked)
        self._windows = QPushButton("Window")
        self._windows.setToolTip("CT windows for the contrast of the scan")
        self._windows.setMenu(QMenu(self._windows))

    def _make_lists(self) -> None:
        self.lists = ReviewLists()
        self.lists.slice_chosen.connect(self.layers.go_to_slice)
        self.lists.island_chosen.connect(self.layers.island.show)
        self.lists.island_pointed_at.connect(self.layers.island.peek)
        self.lists.island_restored.connect(self._restore)

    def _make_shortcuts(self) -> None:
        presses: dict[str, tuple[QPushButton, ...]] = {
            "accept": (self.verdict.accept,),
            "accept and next": (self.verdict.accept_next, self.verdict.next),
            "reject": (self.verdict.reject,),
            "skip": (self.verdict.skip, self.verdict.next),
            "reopen": (self.verdict.reopen, self.verdict.include),
            "revert": (self._revert,),
            "what changed": (self._changes,),
            "three planes": (self._three,),
            **{name: (one,) for name, one in self._clean_ups.items()},
            **{name: (one,) for name, one in self._plane.buttons.items()},
        }
        for name, buttons in presses.items():  # held down, a key would judge cases that nobody has seen
            self._shortcuts.add(KEYS[name], _presser(buttons), repeats=False)
        self._shortcuts.add(KEYS["overlay"], self._next_overlay)
        self._shortcuts.add(KEYS["brush"], self._next_brush)
        self._shortcuts.add(KEYS["outline"], self._next_look)
        for step in ("undo", "redo"):  # napari binds them to the labels, and does not hear of a key that the window has
            self._shortcuts.add(KEYS[step], self._stepper(step))

    def _lay_out(self) -> None:
        head = row_of((self._name, 1), self._status_sign, self._status)
        edits = row_of(self._undo, self._redo, self._revert, (self._changes, 1))
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        for line, (title, widget) in enumerate(
            (
                ("Class", self._classes),
                ("Labels", self._look),
                ("Overlay", self._overlay),
                ("Opacity", holding(row_of((self._opacity, 1), self._stamp))),
                ("Border", self._border),
                ("Brush", self._brush),
            )
        ):
            grid.addWidget(QLabel(title), line, 0)
            grid.addWidget(widget, line, 1)
        inside = QVBoxLayout()
        inside.setContentsMargins(6, 6, 6, 6)
        inside.setSpacing(8)
        inside.addLayout(head)
        inside.addWidget(self._source)
        inside.addWidget(self._newer)
        inside.addWidget(self._restore_layers)
        inside.addLayout(edits)
        inside.addWidget(line_across())
        inside.addLayout(grid)
        inside.addLayout(row_of(*((one, 1) for one in self._clean_ups.values())))
        inside.addWidget(line_across())
        inside.addLayout(row_of((self._plane, 1), self._three, self._windows))
        inside.addWidget(self.lists, 1)
        scroll = QScrollArea()
        scroll.setWidget(holding(inside))
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        page = QVBoxLayout()
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(0)
        page.addWidget(scroll, 1)
        page.addWidget(line_across())
        page.addWidget(self.verdict)
        self._empty = wrapped_label()
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._empty.setMargin(24)
        self._here = button("Show it here", "Show the open case in this window instead", self._show_here)
        nothing = QVBoxLayout()
        nothing.addStretch()
        nothing.addWidget(self._empty)
        nothing.addWidget(self._here, 0, Qt.AlignmentFlag.AlignCenter)
        nothing.addStretch()
        self._pages = QStackedWidget()
        self._pages.addWidget(holding(nothing))
        self._pages.addWidget(holding(page))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._pages)

    # -- showing ----------------------------------------------------------------------------------------------

    def _show_case(self) -> None:
        """Show another case, or that there is none."""
        elsewhere = self._elsewhere = self.layers.closed and self._session.current is not None
        case = self._case = None if elsewhere else self._session.current
        self._show_border()
        self.verdict.show_case(case)
        self._show_islands([])
        self.lists.show_advice([], self.layers.view.axis)
        self._pages.setCurrentIndex(0 if case is None else 1)
        self._here.setVisible(elsewhere)
        self._empty.setText(
            "The open case is shown in another window."
            if elsewhere
            else "No case is open.\n\nOpen one in Cases: a double click, Enter, or Next for the proposed one."
        )
        if case is None:
            return
        self._name.setText(case.name)
        self._name.setToolTip(str(case.case.path))
        self._classes.clear()
        for one in case.classes:
            self._classes.addItem(swatch(one.colour), one.name, one.value)
        self._make_windows(case)
        self._show_status()
        self._show_canvas()
        self._ask_for_lists()

    def _show_loading(self, name: str) -> None:
        if self._session.current is None:
            self._empty.setText(f"{name} is being read…")
        else:
            self._source.setText(f"{name} is being read…")

    def _make_windows(self, case: OpenCase) -> None:
        self._windows.setVisible(bool(case.windows))
        menu = self._windows.menu()
        if menu is None:
            return
        menu.clear()
        for name, (low, high) in case.windows.items():
            action = menu.addAction(f"{name}  ({low:.0f} to {high:.0f})")
            action.triggered.connect(_setter(self.layers.set_contrast, low, high, name))
        menu.addAction("whole range").triggered.connect(
            _setter(self.layers.set_contrast, *case.whole_range, "whole range")
        )

    def _show_status(self) -> None:
        case = self._case
        if case is None:
            return
        status = case.case.status
        if self._colours is not None:
            self._status_sign.setPixmap(status_icon(status, self._colours).pixmap(16, 16))
        self._status.setText(status)
        self._show_source()
        self.verdict.show_status()
        self._show_possible()

    def _show_source(self) -> None:
        """Say where the labels come from, and why the case is proposed if it waits for a mask."""
        case = self._case
        if case is None:
            return
        reason = next((one.reason for one in self._session.proposals if one.name == case.name), "")
        why = f" Proposed: {reason}." if reason and case.case.status in WAITING else ""
        self._source.setText(_source_of(case) + why)

    def _show_possible(self) -> None:
        """Enable what can be done now."""
        case = self._case
        if case is None:
            return
        free = case.editable and not self._session.busy
        edits, has_map = case.edits, case.map is not None
        for one in self._clean_ups.values():
            one.setEnabled(free)
        self._newer.setVisible(case.newer is not None and edits.untouched)
        self._newer.setEnabled(free)
        if not self._border.moving and not self._session.border_moving:
            self._show_border()
        self._revert.setEnabled(free and (edits.can_undo or bool(edits.voxels_changed)))
        self._border.setEnabled(free and has_map)
        self._show_choices()
        self._undo.setEnabled(free and edits.can_undo)
        self._redo.setEnabled(free and edits.can_redo)
        self._undo.setToolTip(
            f"{f'Undo: {edits.operations[-1]}' if edits.can_undo else 'Nothing to undo'} ({_key('undo')})"
        )
        self._redo.setToolTip(
            f"{f'Redo: {edits.undone[-1]}' if edits.can_redo else 'Nothing to redo'} ({_key('redo')})"
        )
        self._stamp.setText(case.map_stamp if has_map else "no map yet")
        self._stamp.setToolTip("Which run's teacher made the map, and after how many steps")
        self.lists.set_restorable(free)
        self.verdict.show_possible()

    def _show_choices(self) -> None:
        """Enable what can be chosen of how things are drawn: in 3-D there are areas alone, and no map."""
        flat = self.layers.view.flat
        self._look.setEnabled(flat)
        for one in (self._overlay, self._opacity):
            one.setEnabled(flat and self._case is not None and self._case.map is not None)

    def _show_canvas(self) -> None:
        """Follow what is shown on the canvas, whoever chose it."""
        if self.layers.closed and not self._elsewhere and self._session.current is not None:
            self._show_case()  # another window has taken the case over
        if self._case is None:
            return
        layers = self.layers
        self._restore_layers.setVisible(not layers.complete)
        place = self._classes.findData(layers.chosen)
        if place != self._classes.currentIndex():
            self._border.finish()
            self._classes.setCurrentIndex(place)
            self._show_border()
        self._overlay.show_choice(layers.overlay.capitalize())
        self._brush.show_choice(layers.brush.capitalize())
        self._look.show_choice("Area" if layers.filled else "Outline")
        self._opacity.blockSignals(True)
        self._opacity.setValue(round(100 * layers.opacity))
        self._opacity.blockSignals(False)
        self._changes.setChecked(layers.changes_shown)
        self._plane.show_choice(layers.view.plane)
        self._show_choices()
        if layers.view.axis != self._listed_axis:
            self._lists_timer.start(0)

    def _show_border(self) -> None:
        level = HALF if self._case is None else self._case.border_at(self.layers.chosen)
        self._border.show_value(round(level / 2.55))

    def _follow_status(self, names: frozenset[str]) -> None:
        if self._case is not None and (not names or self._case.name in names):
            self._show_status()
        elif self._case is not None:
            self._show_source()  # it may be proposed for another reason now
            self.verdict.show_next()

    def _follow_map(self, name: str) -> None:
        if self._case is not None and self._case.name == name:
            self._show_status()
            self._ask_for_lists()

    def _follow_edit(self) -> None:
        sliding = self._border.moving and not self._session.border_moving
        if sliding and self._case is not None and self._case.edits.version != self._slid_at:
            self._border.drop()  # a stroke or an undo has made an edit of the slide, or taken it back
        self._show_possible()
        self._lists_timer.start(0 if self._restoring else _LISTS_MS)
        self._restoring = False

    # -- lists ------------------------------------------------------------------------------------------------

    def _ask_for_lists(self) -> None:
        """List anew what the labels, as they are now, and the map have to say."""
        self._lists_timer.stop()
        if self._case is None or self._case.map is None:
            return
        axis = self._listed_axis = self.layers.view.axis
        self._session.ask_current(
            lambda case: case.worth_a_look(axis), lambda notes: self.lists.show_advice(notes, axis)
        )
        self._session.ask_current(lambda case: case.islands(), self._show_islands)

    def _show_islands(self, islands: Sequence[Island]) -> None:
        self.lists.show_islands(islands, () if self._case is None else self._case.classes)
        self.lists.set_restorable(self._case is not None and self._case.editable and not self._session.busy)

    # -- acting -----------------------------------------------------------------------------------------------

    def _can_edit(self) -> bool:
        """Return whether the labels may be changed now: not in a locked case, nor while a stroke goes on."""
        case = self._case
        if case is None or not case.editable or self._session.busy:
            return False
        if self._session.painting():
            self._session.say(STROKE_GOES_ON)
            return False
        return True

    def _clean_up(self, name: str) -> Callable[[], None]:
        def clean_up() -> None:
            if not self._can_edit() or not self.layers.chosen:
                return
            self._border.finish()
            axis = (self.layers.view.axis,) if name == "interpolate" else ()
            self._session.edit_current(name, self.layers.chosen, *axis)

        return clean_up

    def _set_border(self, percent: int, final: bool) -> None:
        value = self._classes.currentData()  # while another class is being chosen, the slide is still of this one
        if value and self._can_edit() and self._case is not None and self._case.map is not None:
            self._slid_at = self._case.edits.version
            self._session.move_border(value, round(percent * 2.55), final)

    def _restore(self, island: Island) -> None:
        if self._can_edit():
            self._border.finish()
            self._restoring = True
            self.layers.island.show(None)
            self._session.edit_current("restore_island", island)

    def _stepper(self, step: str) -> Callable[[], None]:
        """Return what takes an edit back, or makes it again: of the case, unless the user is at labels of her own."""

        def do() -> None:
            active = self._viewer.layers.selection.active
            others = hasattr(active, step) and active not in self.layers.own.values()
            getattr(active if others else self.layers, step)()

        return do

    def _next_overlay(self) -> None:
        if self._overlay.isEnabled():
            place = _OVERLAYS.index(self.layers.overlay.capitalize())
            self._overlay.buttons[_OVERLAYS[(place + 1) % len(_OVERLAYS)]].click()

    def _next_look(self) -> None:
        if self._look.isEnabled():
            self.layers.set_filled(not self.layers.filled)

    def show_planes(self, shown: bool) -> None:
        """Show the other two planes in a dock below the canvas, or hide them."""
        if shown or not self._session.painting():  # napari would lose a stroke that is not done
            self._planes.show(shown)
        else:
            self._three.setChecked(True)

    def _next_brush(self) -> None:
        names = [name for name, _ in BRUSHES]
        place = names.index(self.layers.brush.capitalize())
        self._brush.buttons[names[(place + 1) % len(names)]].click()

    def _do_revert(self) -> None:
        if self._can_edit():
            self._session.revert()

    def _may_judge(self) -> bool:
        """Return whether a verdict can be given now; what a slider previews is an edit then."""
        if not self._can_edit():
            return False
        self._border.finish()
        return True

    def _take_newer(self) -> None:
        if self._may_judge():
            self._session.take_newer()

    def _show_here(self) -> None:
        enter(self._canvas)
        self.layers.show_here()
        self._show_case()


def _source_of(case: OpenCase) -> str:
    """Return where the labels on screen come from."""
    if case.outdated:
        return f"{case.name} is being read…"
    if case.case.status == "excluded":
        return "Excluded, and locked: include the case to edit it."
    if not case.editable:
        who = "by rule" if case.case.mask_by == "rule" else "by hand"
        return f"Accepted {who}, and locked: reopen the case to edit it."
    if case.restored:
        return case.restored
    return {
        "pseudo-label": f"Pseudo-label of {case.source_stamp}.",
        "mask": "Mask that was accepted before.",
        "draft": "Draft.",
    }.get(case.source, "No labels yet: paint some, or train and come back when there is a map.")


def _key(name: str) -> str:
    """Return the key of an action as it is written on the keyboard."""
    return KEYS[name][-1]


def _presser(buttons: tuple[QPushButton, ...]) -> Callable[[], None]:
    """Return what presses the one of `buttons` that is there."""

    def press() -> None:
        for one in buttons:
            if one.isVisible():
                one.click()
                return

    return press


def _setter(method: Callable[..., object], *arguments: object) -> Callable[[], None]:
    def call() -> None:
        method(*arguments)

    return call
