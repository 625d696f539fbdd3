"""The form of every setting of a training, grown from `config.settings_table()` and checked by `config.make_config`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QHBoxLayout, QLabel, QLineEdit, QVBoxLayout, QWidget

from napari_bcp.app.parts import button, guard_wheel, wrapped_label
from napari_bcp.app.text_labels import colour_text, selectable
from napari_bcp.app.wording import counted
from napari_bcp.config import make_config, parse_assignments, settings_table
from napari_bcp.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_bcp.app.theme import Colours

_AUTOMATIC: Final = "automatic"


class SettingsForm(QWidget):
    """All settings; those that differ from the preset are bold and can be put back one by one.

    changed : a value, or whether all values are valid, is another one now
    """

    changed = Signal()

    def __init__(self, preset: str = "quick", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._preset = preset
        self._rows = {row["name"]: _Row(self, row) for row in settings_table()}
        self._search = QLineEdit()
        self._search.setPlaceholderText("Find a setting…")
        self._search.setToolTip("Show the settings whose name or help has this text in it")
        self._search.setClearButtonEnabled(True)
        self._search.setAccessibleName("Find a setting")
        self._only_changed = QCheckBox("changed")
        self._only_changed.setToolTip("Show only the settings that differ from the preset")
        self._reset_all = button("Reset all", "Give every setting the preset's value", self.reset_all)
        self._problem = wrapped_label()
        selectable(self._problem)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        for place, row in enumerate(self._rows.values()):
            grid.addWidget(row.label, place, 0)
            grid.addWidget(row.editor, place, 1)
            grid.addWidget(row.reset, place, 2)
        top = QHBoxLayout()
        top.addWidget(self._search, 1)
        top.addWidget(self._only_changed)
        top.addWidget(self._reset_all)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        column.addWidget(self._problem)
        column.addLayout(grid)
        self._search.textChanged.connect(self._filter)
        self._only_changed.toggled.connect(self._filter)
        self.set_preset(preset)

    # -- what the panel asks ----------------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """Return the settings that differ from the preset; invalid ones are left out."""
        return self.differing({name: row.preset_value for name, row in self._rows.items()})

    def differing(self, ground: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that differ from those in `ground`, which has all; invalid ones are left out."""
        return {name: row.value for name, row in self._rows.items() if not row.problem and row.value != ground[name]}

    def problems(self) -> dict[str, str]:
        """Return a sentence for each setting whose value cannot be used."""
        return {name: row.problem for name, row in self._rows.items() if row.problem}

    def set_preset(self, preset: str) -> None:
        """Take another preset as the ground; what was changed by hand stays changed."""
        values = make_config(preset).model_dump()
        kept = self.values()
        self._preset = preset
        for name, row in self._rows.items():
            row.preset_value = values[name]
            row.put(kept.get(name, values[name]))
        self._tell()

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Put in these values and the preset's everywhere else; names that are no setting are passed over."""
        for name, row in self._rows.items():
            row.put(values.get(name, row.preset_value))
        self._tell()

    def reset_all(self) -> None:
        """Give every setting the preset's value."""
        self.set_values({})

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        colour_text(self._problem, colours.red)

    # -- inside -----------------------------------------------------------------------------------------------

    def checked(self, name: str, value: Any) -> tuple[Any, str]:
        """Return a value as the settings hold it (1 becomes 1.0 where it must), and why it cannot be used or ""."""
        try:
            return getattr(make_config(self._preset, {name: value}), name), ""
        except SettingError as error:
            return value, str(error)

    def edited(self) -> None:
        """Take in that the reader has changed a value."""
        self._tell()

    def _tell(self) -> None:
        problems = self.problems()
        self._problem.setText(next(iter(problems.values()), ""))
        self._problem.setVisible(bool(problems))
        number = sum(row.changed for row in self._rows.values())
        self._reset_all.setEnabled(bool(number))
        self._only_changed.setText(f"{counted(number, 'change')}" if number else "changed")
        self._filter()
        self.changed.emit()

    def _filter(self, *_: object) -> None:
        words = self._search.text().lower().split()
        only = self._only_changed.isChecked()
        for row in self._rows.values():
            text = f"{row.name} {row.label.text()} {row.tip}".lower()
            row.set_visible(all(word in text for word in words) and (row.changed or not only))


class _Row:
    """One setting: its label, its editor, and the button that puts the preset's value back."""

    def __init__(self, form: SettingsForm, spec: Mapping[str, Any]) -> None:
        self._form = form
        self.name: str = spec["name"]
        self.preset_value: Any = spec["default"]
        self.value: Any = spec["default"]
        self.problem = ""
        self.tip = _tip(spec)
        unit = f" ({spec['unit']})" if spec["unit"] in ("mm", "s", "voxels") else ""
        self.label = QLabel(self.name.replace("_", " ") + unit)
        self.editor = self._make_editor(spec)
        self.reset = button("↺", "Put the preset's value back", self._reset)
        self.reset.setFixedWidth(26)
        self.reset.setSizePolicy(_keeping_its_room(self.reset))
        self.label.setBuddy(self.editor)
        self.label.setToolTip(self.tip)
        self.editor.setToolTip(self.tip)
        self.editor.setAccessibleName(self.name)

    @property
    def changed(self) -> bool:
        """Whether the value differs from the preset's."""
        return bool(self.value != self.preset_value) or bool(self.problem)

    def put(self, value: Any) -> None:
        """Show `value` as if it had been typed."""
        self.editor.blockSignals(True)
        if isinstance(self.editor, QComboBox):
            self.editor.setCurrentText(str(value))
        elif isinstance(self.editor, QCheckBox):
            self.editor.setChecked(bool(value))
        elif isinstance(self.editor, QLineEdit):
            self.editor.setText(text_of(value))
        self.editor.blockSignals(False)
        self.value, self.problem = self._form.checked(self.name, value)
        self._mark()

    def set_visible(self, visible: bool) -> None:
        """Show or hide the whole row."""
        self.label.setVisible(visible)
        self.editor.setVisible(visible)
        self.reset.setVisible(visible and self.changed)

    def _make_editor(self, spec: Mapping[str, Any]) -> QWidget:
        if spec["choices"]:
            box = QComboBox()
            box.addItems([str(choice) for choice in spec["choices"]])
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.setMinimumContentsLength(8)
            guard_wheel(box)
            box.currentTextChanged.connect(self._chosen)
            return box
        if isinstance(spec["default"], bool):
            check = QCheckBox()
            check.toggled.connect(self._chosen)
            return check
        line = QLineEdit()
        line.setPlaceholderText(_AUTOMATIC if spec["default"] is None else "")
        line.textEdited.connect(self._typed)
        return line

    def _typed(self, text: str) -> None:
        self._chosen(parse_assignments([f"{self.name}={text}"])[self.name])

    def _chosen(self, value: Any) -> None:
        self.value, self.problem = self._form.checked(self.name, value)
        self._mark()
        self._form.edited()

    def _reset(self) -> None:
        self.put(self.preset_value)
        self._form.edited()

    def _mark(self) -> None:
        font = self.label.font()
        font.setBold(self.changed)
        self.label.setFont(font)
        self.editor.setToolTip(f"{self.problem}\n\n{self.tip}" if self.problem else self.tip)


def text_of(value: Any) -> str:
    """Return a value as it is typed: the shortest decimals that give the same number, none for automatic."""
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        return ", ".join(map(text_of, value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _tip(spec: Mapping[str, Any]) -> str:
    """Return help, range, unit and default of a setting."""
    parts = [spec["help"]]
    if spec["span"]:
        parts.append(spec["span"].capitalize() + (f" {spec['unit']}." if spec["unit"] else "."))
    elif spec["unit"]:
        parts.append(f"In {spec['unit']}.")
    if spec["default"] is None:
        parts.append("Empty: the plan chooses.")
    parts.append(f"On the command line: --set {spec['name']}=…")
    return "\n".join(parts)


def _keeping_its_room(widget: QWidget) -> Any:
    """Return a size policy with which a hidden widget leaves its place empty, so that nothing jumps."""
    policy = widget.sizePolicy()
    policy.setRetainSizeWhenHidden(True)
    return policy
