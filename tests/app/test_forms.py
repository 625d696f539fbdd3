"""The form of all settings, typed into as a reader does."""

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit
from strokes import roll

from napari_bcp.app.forms import SettingsForm, text_of
from napari_bcp.config import PRESETS, make_config, settings_table


@pytest.fixture
def form(qtbot):
    """The form on the screen."""
    made = SettingsForm()
    qtbot.addWidget(made)
    made.show()
    qtbot.waitExposed(made)
    return made


@pytest.fixture
def type_in(form, qtbot):
    """Return a function that types a value in place of the former."""

    def do(name, text):
        line = form._rows[name].editor
        line.setFocus()
        line.selectAll()
        qtbot.keyClick(line, Qt.Key.Key_Delete)
        qtbot.keyClicks(line, text)

    return do


def shown(form):
    return [name for name, row in form._rows.items() if row.editor.isVisible()]


def bold(form):
    return [name for name, row in form._rows.items() if row.label.font().bold()]


def test_every_setting_has_a_row_with_help_range_and_unit_from_their_one_source(form):
    assert list(form._rows) == [row["name"] for row in settings_table()]
    for spec in settings_table():
        row = form._rows[spec["name"]]
        for widget in (row.label, row.editor):
            assert spec["help"] in widget.toolTip(), spec["name"]
            assert spec["unit"] in widget.toolTip(), spec["name"]
            assert spec["span"].capitalize() in widget.toolTip(), spec["name"]
        assert row.label.buddy() is row.editor
        kind = QComboBox if spec["choices"] else QCheckBox if isinstance(spec["default"], bool) else QLineEdit
        assert isinstance(row.editor, kind), spec["name"]
        if spec["choices"]:
            assert [row.editor.itemText(i) for i in range(row.editor.count())] == list(spec["choices"])
    assert form.values() == {}
    assert form.problems() == {}


def test_lengths_say_their_unit_beside_the_name(form):
    assert form._rows["spacing"].label.text() == "spacing (mm)"
    assert form._rows["lr"].label.text() == "lr"


def test_what_is_typed_is_the_setting_and_small_numbers_survive(form, type_in):
    type_in("lr", "3e-5")
    assert form.values() == {"lr": 3e-5}
    assert form._rows["lr"].editor.text() == "3e-5", "nobody rewrites what is being typed"
    form.set_values({"lr": 3e-5, "weight_decay": 1e-7})
    assert float(form._rows["lr"].editor.text()) == 3e-5
    assert float(form._rows["weight_decay"].editor.text()) == 1e-7
    assert form.values() == {"lr": 3e-5, "weight_decay": 1e-7}
    assert make_config("quick", form.values()).weight_decay == 1e-7


def test_sizes_numbers_and_choices_are_read_as_on_the_command_line(form, type_in, qtbot):
    type_in("patch", "32, 24, 16")
    type_in("batch", "4")
    form._rows["loss"].editor.setFocus()
    qtbot.keyClicks(form._rows["loss"].editor, "dml")
    form._rows["mean_loss"].editor.setFocus()
    qtbot.keyClick(form._rows["mean_loss"].editor, Qt.Key.Key_Space)
    form._rows["dimensions"].editor.setCurrentText("2")
    assert form.values() == {
        "patch": (32, 24, 16),
        "batch": 4,
        "loss": "dml",
        "mean_loss": False,
        "dimensions": "2",
    }
    type_in("batch", "")
    assert "batch" not in form.values(), "empty is automatic"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("lr", "20", "less than or equal to 10"),
        ("lr", "0", "greater than 0"),
        ("lr", "fast", "valid number"),
        ("batch", "2.5", "valid integer"),
        ("seed", "", "valid integer"),
        ("patch", "12, x", "cannot be"),
    ],
)
def test_a_wrong_value_says_why_and_is_left_out_until_it_is_right(form, type_in, name, text, reason):
    changes = []
    form.changed.connect(lambda: changes.append(form.problems()))
    assert not form._problem.isVisible()
    type_in(name, text)
    assert list(form.problems()) == [name]
    assert form._problem.isVisible()
    assert f"'{name}'" in form._problem.text()
    assert reason in form._problem.text()
    assert reason in form._rows[name].editor.toolTip()
    assert form.values() == {}
    assert changes[-1] == form.problems()
    put_back(form, name)
    assert (form.problems(), form._problem.isVisible()) == ({}, False)
    assert form._rows[name].editor.text() == text_of(getattr(make_config(), name))


def put_back(form, name):
    """Press the button that puts the preset's value back."""
    assert form._rows[name].reset.isVisible()
    form._rows[name].reset.click()


def test_changed_settings_are_bold_and_are_put_back_one_by_one_or_all_together(form, type_in, qtbot):
    assert (bold(form), form._reset_all.isEnabled()) == ([], False)
    type_in("lr", "0.5")
    type_in("ema", "0.9")
    assert bold(form) == ["ema", "lr"]
    assert [name for name, row in form._rows.items() if row.reset.isVisible()] == ["ema", "lr"]
    qtbot.mouseClick(form._rows["lr"].reset, Qt.MouseButton.LeftButton)
    assert (bold(form), form.values()) == (["ema"], {"ema": 0.9})
    assert form._rows["lr"].editor.text() == "0.002"
    qtbot.mouseClick(form._reset_all, Qt.MouseButton.LeftButton)
    assert (bold(form), form.values()) == ([], {})
    type_in("lr", "0.002")
    assert bold(form) == [], "what equals the preset is no change"


def test_a_setting_is_found_by_name_and_by_what_its_help_says(form, type_in, qtbot):
    everything = shown(form)
    assert len(everything) == len(settings_table())
    qtbot.keyClicks(form._search, "stage1 BATCH")
    assert shown(form) == ["stage1_batch"]
    form._search.clear()
    qtbot.keyClicks(form._search, "cut")
    assert shown(form) == ["unlabelled_crop"]
    form._search.clear()
    assert shown(form) == everything
    type_in("lr", "0.5")
    qtbot.mouseClick(form._only_changed, Qt.MouseButton.LeftButton, pos=QPoint(8, form._only_changed.height() // 2))
    assert shown(form) == ["lr"]
    qtbot.mouseClick(form._reset_all, Qt.MouseButton.LeftButton)
    assert shown(form) == []


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_preset_is_shown_as_it_is(form, preset):
    form.set_preset(preset)
    assert (form.values(), form.problems(), bold(form)) == ({}, {}, [])
    for name, value in PRESETS[preset].items():
        editor = form._rows[name].editor
        if isinstance(editor, QComboBox):
            assert editor.currentText() == value
        elif isinstance(editor, QCheckBox):
            assert editor.isChecked() == value
        else:
            assert editor.text() == text_of(value)


def test_a_preset_changes_the_ground_and_keeps_what_was_changed_by_hand(form, type_in):
    type_in("batch", "6")
    type_in("lr", "0.001")
    form.set_preset("quality")
    assert form.values() == {"batch": 6}, "0.001 is what quality has"
    assert bold(form) == ["batch"]
    assert form._rows["ema"].editor.text() == "0.99"
    put_back(form, "batch")
    assert form._rows["batch"].editor.text() == ""


def test_the_wheel_scrolls_past_a_choice_that_is_not_in_use(form, qtbot):
    form.activateWindow()
    qtbot.waitUntil(form.isActiveWindow)
    box = form._rows["loss"].editor
    form._search.setFocus()
    roll(box)
    assert form.values() == {}
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    roll(box)
    assert list(form.values()) == ["loss"]
