"""Classes are named, coloured and added in the window, and the open case is shown with them."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from napari_bcp.app import classes_dialog
from napari_bcp.app.classes_dialog import ClassesDialog
from napari_bcp.app.dock import BcpWidget
from napari_bcp.scans import ClassSpec
from napari_bcp.scans.classes import default_colour

from strokes import paint_cube  # isort: skip

LEFT = Qt.MouseButton.LeftButton
LIVER, STOMACH = ClassSpec(1, "liver", "#e69f00"), ClassSpec(2, "stomach", "#56b4e9")


@pytest.fixture
def dialog(qtbot):
    made = ClassesDialog()
    qtbot.addWidget(made)
    made.show_classes([LIVER, STOMACH])
    return made


@pytest.fixture
def window(make_napari_viewer, quiet, pumped):
    """The panels in a viewer over the quiet session, with a case open."""
    session, _ = quiet
    viewer = make_napari_viewer(show=True)
    panels = BcpWidget(viewer, session)
    viewer.window.add_dock_widget(panels)
    session.open_case("phantom_004")
    pumped(session, lambda: "labels" in viewer.layers)
    yield panels
    panels.close_down()


def added(dialog, name):
    dialog.more.click()
    dialog.rows[-1].name.setText(name)


def test_names_and_colours_of_classes_change_and_their_values_do_not(dialog, monkeypatch):
    monkeypatch.setattr(classes_dialog.QColorDialog, "getColor", lambda *_: QColor("#123abc"))
    dialog.rows[0].name.setText(" hepar ")
    dialog.rows[1]._swatch.click()
    assert dialog.specs() == [ClassSpec(1, "hepar", "#e69f00"), ClassSpec(2, "stomach", "#123abc")]
    monkeypatch.setattr(classes_dialog.QColorDialog, "getColor", lambda *_: QColor())  # cancelled
    dialog.rows[1]._swatch.click()
    assert dialog.specs()[1].colour == "#123abc"


def test_another_class_gets_the_next_value_or_one_that_is_chosen(dialog):
    added(dialog, "tumour")
    assert dialog.specs()[2] == ClassSpec(3, "tumour", default_colour(3))
    dialog.rows[2].label.setValue(7)
    added(dialog, "cyst")
    assert [(one.value, one.name) for one in dialog.specs()[2:]] == [(7, "tumour"), (8, "cyst")]


def test_a_row_that_stays_blank_counts_for_nothing(dialog):
    added(dialog, "")
    assert dialog.specs() == [LIVER, STOMACH]
    assert dialog._ok.isEnabled()


@pytest.mark.parametrize("name", ["Liver", "background", ""])
def test_what_cannot_be_is_said_before_it_is_saved(dialog, name):
    dialog.rows[1].name.setText(name)
    assert not dialog._ok.isEnabled()
    assert dialog._problem.text()
    dialog.rows[1].name.setText("spleen")
    assert dialog._ok.isEnabled()
    assert not dialog._problem.text()


def test_it_begins_anew_each_time(dialog):
    added(dialog, "tumour")
    dialog.show_classes([LIVER])
    assert dialog.specs() == [LIVER]
    assert dialog._form.rowCount() == 1


def test_a_class_is_added_in_the_window_and_can_be_painted_at_once(window, quiet, pumped, qtbot):
    """Nothing of the open case is lost: its stroke is saved first."""
    session, _ = quiet
    paint_cube(session.current)
    labels = session.current.labels.copy()
    window.pool_actions["Classes…"].trigger()
    dialog = window.findChild(ClassesDialog)
    dialog.rows[0].name.setText("hepar")
    added(dialog, "tumour")
    value = dialog.rows[-1].value
    qtbot.mouseClick(dialog._ok, LEFT)
    pumped(session, lambda: len(session.classes) == 4 and session.current is not None)
    pumped(session, lambda: window.review._classes.count() == 4)
    assert window.review._classes.itemText(0) == "hepar"
    assert session.current.name == "phantom_004"
    assert (session.current.labels == labels).all()
    assert session.current.edits.can_undo
    window.review.layers.choose(value)
    assert window.review.layers.chosen == value
    assert "no tumour" in window.cases.message.text
    assert "reopen the cases that show it" in window.cases.message.text
    session.current.labels[:2, :2, :2] = value
    session.accept()
    pumped(session, lambda: session.current.case.status == "accepted")
    assert value in session.pool.mask("phantom_004")


def test_while_it_trains_a_class_is_named_but_none_is_added(window, quiet, pumped, told):
    session, trainer = quiet
    session.start_training("quick", 1, {})
    pumped(session, lambda: trainer.busy)
    first, *others = session.classes
    session.change_classes([ClassSpec(first.value, "hepar", first.colour), *others])
    pumped(session, lambda: session.classes[0].name == "hepar")
    told.clear()
    session.change_classes([*session.classes, ClassSpec(9, "tumour", "#cc79a7")])
    assert told == [
        ("warning", "", "A training works with the classes that it began with: stop it before you add one.")
    ]
    assert len(session.pool.classes) == 3


def test_a_name_that_another_class_has_is_refused_and_the_case_stays(quiet, pumped, told):
    session, _ = quiet
    session.open_case("phantom_004")
    pumped(session, lambda: session.current is not None)
    first, second, *_ = session.classes
    session.change_classes([ClassSpec(first.value, second.name, first.colour)])
    pumped(session, lambda: told)
    assert "taken" in told[0][2]
    pumped(session, lambda: session.current is not None and session.current.name == "phantom_004")
    assert session.classes[0].name == first.name
