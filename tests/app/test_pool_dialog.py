"""The windows that ask for a new pool, and for more scans."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QApplication, QFileDialog, QLabel, QLineEdit

from napari_bcp.app.pool_dialog import PoolDialog
from napari_bcp.errors import SettingError
from napari_bcp.scans import ClassSpec

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def make(qtbot):
    """Return a function that opens such a window."""

    def dialog(**how):
        made = PoolDialog(**how)
        qtbot.addWidget(made)
        with qtbot.waitActive(made):
            made.open()
            made.activateWindow()
        return made

    return dialog


@pytest.fixture
def dialog(make):
    return make()


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    return folder


def ok(dialog):
    return next(one for one in dialog.findChildren(QAbstractButton) if one.text() in ("Make the pool", "Add"))


def problem(dialog):
    return dialog._problem.text()


def write(qtbot, line, text):
    """Type into a field, in place of what is there."""
    line.setFocus()
    line.selectAll()
    qtbot.keyClick(line, Qt.Key.Key_Delete)
    qtbot.keyClicks(line, str(text))


def test_an_empty_window_waits_without_complaint(dialog):
    assert problem(dialog) == ""
    assert not ok(dialog).isEnabled()


def test_a_folder_of_scans_is_enough_and_the_pool_goes_beside_it(dialog, scans, qtbot):
    write(qtbot, dialog.images, scans)
    assert dialog.place.text() == f"{scans}-pool"
    assert problem(dialog) == ""
    with qtbot.waitSignal(dialog.accepted):
        qtbot.mouseClick(ok(dialog), LEFT)
    assert dialog.folders() == (scans, None)
    assert dialog.pool_folder() == scans.with_name("scans-pool")
    assert dialog.class_specs() is None


def test_enter_makes_the_pool_and_escape_leaves(make, scans, qtbot):
    first, second = make(), make()
    write(qtbot, second.images, scans)
    with qtbot.waitSignal(second.accepted):
        qtbot.keyClick(second.images, Qt.Key.Key_Return)
    with qtbot.waitSignal(first.rejected):
        qtbot.keyClick(first.images, Qt.Key.Key_Escape)


def test_enter_does_nothing_while_something_is_wrong(dialog, qtbot):
    write(qtbot, dialog.images, "/no/such/folder")
    qtbot.keyClick(dialog.images, Qt.Key.Key_Return)
    assert dialog.isVisible()


def test_a_missing_folder_is_named(dialog, scans, tmp_path, qtbot):
    write(qtbot, dialog.images, tmp_path / "scan")
    assert problem(dialog) == f"There is no folder of scans at {tmp_path / 'scan'}."
    assert not ok(dialog).isEnabled()
    write(qtbot, dialog.images, scans)
    write(qtbot, dialog.labels, tmp_path / "masks")
    assert problem(dialog) == f"There is no folder of masks at {tmp_path / 'masks'}."
    (tmp_path / "masks").mkdir()
    write(qtbot, dialog.labels, f"  {tmp_path / 'masks'} ")
    assert problem(dialog) == ""
    assert ok(dialog).isEnabled()
    assert dialog.folders() == (scans, tmp_path / "masks")


@pytest.mark.parametrize("text", ["~nobody-of-that-name/scans", "x" * 5000, "/proc/self/fd/999/x"])
def test_whatever_is_typed_is_a_missing_folder_at_worst(dialog, text):
    """A user who is unknown, a name too long for the disk: typing must not fail."""
    for line in (dialog.images, dialog.labels, dialog.place, dialog.classes):
        line.setText(text)
    assert "There is no folder of scans at" in problem(dialog)
    assert not ok(dialog).isEnabled()


def test_home_may_be_written_short(dialog, tmp_path, monkeypatch, scans):
    monkeypatch.setenv("HOME", str(tmp_path))
    dialog.images.setText("~/scans")
    assert problem(dialog) == ""
    assert dialog.folders()[0] == scans


def test_the_suggestion_follows_the_scans_until_a_place_is_named(dialog, scans, tmp_path, qtbot):
    (tmp_path / "other").mkdir()
    write(qtbot, dialog.images, scans)
    write(qtbot, dialog.images, tmp_path / "other")
    assert dialog.place.text() == f"{tmp_path / 'other'}-pool"
    write(qtbot, dialog.place, tmp_path / "mine")
    write(qtbot, dialog.images, scans)
    assert dialog.place.text() == str(tmp_path / "mine")
    write(qtbot, dialog.place, "")
    assert problem(dialog) == "Name a folder for the pool."
    write(qtbot, dialog.images, f"{scans}/")
    assert dialog.place.text() == f"{scans}-pool", "an empty place is none that was chosen"


def test_a_pool_that_is_there_is_not_overwritten(dialog, scans, tmp_path, qtbot):
    pool = tmp_path / "scans-pool"
    pool.mkdir()
    write(qtbot, dialog.images, scans)
    assert problem(dialog) == "", "an empty folder may become a pool"
    (pool / "pool.sqlite").touch()
    write(qtbot, dialog.images, scans)
    assert problem(dialog) == f"{pool} is a pool already: open it, or choose another folder."
    assert not ok(dialog).isEnabled()


def test_a_file_is_no_place_for_a_pool(dialog, scans, tmp_path, qtbot):
    (tmp_path / "notes").write_text("")
    write(qtbot, dialog.images, scans)
    write(qtbot, dialog.place, tmp_path / "notes")
    assert problem(dialog) == f"{tmp_path / 'notes'} is a file: name a folder for the pool."


# -- classes ------------------------------------------------------------------------------------------------------


def test_classes_are_named_in_the_order_of_their_values(dialog, scans, qtbot):
    write(qtbot, dialog.images, scans)
    write(qtbot, dialog.classes, " liver, left kidney ,, aorta,")
    assert problem(dialog) == ""
    assert dialog.class_specs() == [
        ClassSpec(1, "liver", "#e69f00"),
        ClassSpec(2, "left kidney", "#56b4e9"),
        ClassSpec(3, "aorta", "#009e73"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("liver, Liver", "Two classes have the same name; give every class its own."),
        ("liver, " + "x" * 81, "is no name of class 2: use 1 to 80 printable characters."),
        (", ".join(f"c{number}" for number in range(1, 257)), "256 is no value of a class"),
        ("classes.json", "There is no file of classes at classes.json."),
        ("/data/classes", "There is no file of classes at /data/classes."),
    ],
)
def test_what_is_wrong_with_the_classes_is_told(dialog, scans, qtbot, text, told):
    write(qtbot, dialog.images, scans)
    dialog.classes.setText(text)
    assert told in problem(dialog)
    assert not ok(dialog).isEnabled()
    with pytest.raises(SettingError):
        dialog.class_specs()


def test_classes_may_come_from_a_file(dialog, scans, tmp_path, qtbot):
    file = tmp_path / "classes.txt"
    file.write_text("1 liver\n4 aorta #00ff00\n")
    write(qtbot, dialog.images, scans)
    write(qtbot, dialog.classes, file)
    assert problem(dialog) == ""
    assert ok(dialog).isEnabled()
    assert dialog.class_specs() == file


def test_a_file_that_names_no_classes_is_told_before_the_pool_is_made(dialog, scans, tmp_path, qtbot):
    file = tmp_path / "classes.json"
    file.write_text("[1, 2")
    write(qtbot, dialog.images, scans)
    write(qtbot, dialog.classes, file)
    assert problem(dialog).startswith("classes.json ")
    assert not ok(dialog).isEnabled()


# -- choosing in a window -----------------------------------------------------------------------------------------


def browse(dialog, line):
    """The button beside a field."""
    return line.parentWidget().findChild(QAbstractButton)


def test_folders_and_files_can_be_chosen_in_windows(dialog, scans, tmp_path, monkeypatch, qtbot):
    for name in ("masks", "place"):
        (tmp_path / name).mkdir()
    file = tmp_path / "classes.txt"
    file.write_text("1 liver\n")
    answers = iter([str(scans), str(tmp_path / "masks"), str(tmp_path / "place")])
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: next(answers))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    qtbot.mouseClick(browse(dialog, dialog.images), LEFT)
    assert dialog.place.text() == f"{scans}-pool"
    qtbot.mouseClick(browse(dialog, dialog.labels), LEFT)
    qtbot.keyClick(browse(dialog, dialog.place), Qt.Key.Key_Space)
    qtbot.mouseClick(browse(dialog, dialog.classes), LEFT)
    assert dialog.folders() == (scans, tmp_path / "masks")
    assert dialog.class_specs() == file
    dialog.images.setText(str(tmp_path))
    assert dialog.pool_folder() == tmp_path / "place", "a place that was chosen stays"


def test_a_window_that_is_left_without_a_choice_changes_nothing(dialog, scans, monkeypatch, qtbot):
    write(qtbot, dialog.images, scans)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: ("", ""))
    for line in (dialog.images, dialog.labels, dialog.place, dialog.classes):
        qtbot.mouseClick(browse(dialog, line), LEFT)
    assert dialog.folders() == (scans, None)
    write(qtbot, dialog.images, scans.parent)
    assert dialog.place.text() == f"{scans.parent}-pool", "no place was chosen"


# -- more scans ---------------------------------------------------------------------------------------------------


def test_adding_scans_asks_for_folders_alone(make, scans, qtbot):
    dialog = make(extend=True)
    assert dialog.windowTitle() == "Add scans"
    assert [one for one in dialog.findChildren(QLineEdit) if one.isVisible()] == [dialog.images, dialog.labels]
    write(qtbot, dialog.images, scans)
    assert problem(dialog) == ""
    with qtbot.waitSignal(dialog.accepted):
        qtbot.mouseClick(ok(dialog), LEFT)
    write(qtbot, dialog.images, scans / "none")
    assert problem(dialog) == f"There is no folder of scans at {scans / 'none'}."
    assert not ok(dialog).isEnabled()


# -- for everybody ------------------------------------------------------------------------------------------------


def test_every_field_has_a_tooltip_and_a_letter(dialog):
    fields = [one for one in dialog.findChildren(QLineEdit) if one.isVisible()]
    assert len(fields) == 4
    assert all(one.toolTip() for one in fields)
    labels = {one.text(): one.buddy() for one in dialog.findChildren(QLabel) if one.buddy() is not None}
    assert labels == {
        "&Scans": dialog.images,
        "&Masks (optional)": dialog.labels,
        "&Pool goes to": dialog.place,
        "&Classes": dialog.classes,
    }
    browsers = [one for one in dialog.findChildren(QAbstractButton) if one.text() == "Browse…"]
    assert len(browsers) == 4
    assert all(one.toolTip() for one in browsers)


def test_tab_goes_from_field_to_field_and_to_the_buttons(dialog, qtbot):
    dialog.images.setFocus()
    reached = []
    while QApplication.focusWidget() not in reached:
        reached.append(QApplication.focusWidget())
        qtbot.keyClick(reached[-1], Qt.Key.Key_Tab)
    fields = [one for one in reached if isinstance(one, QLineEdit)]
    assert fields == [dialog.images, dialog.labels, dialog.place, dialog.classes]
    assert "Cancel" in {one.text().replace("&", "") for one in reached if isinstance(one, QAbstractButton)}


def test_a_long_path_does_not_widen_the_window(dialog):
    dialog.images.setText("/no" + "/folder_with_a_rather_long_name" * 8)
    QApplication.processEvents()
    assert dialog.width() < 600
    label = dialog._problem
    assert label.height() >= label.heightForWidth(label.width()), "no line may be cut off"


def test_what_was_typed_stays_when_the_window_is_opened_again(dialog, scans, qtbot):
    write(qtbot, dialog.images, scans)
    with qtbot.waitSignal(dialog.accepted):
        qtbot.mouseClick(ok(dialog), LEFT)
    dialog.open()
    assert dialog.images.text() == str(scans)
    assert ok(dialog).isEnabled()
