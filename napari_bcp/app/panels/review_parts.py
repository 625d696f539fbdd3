"""Small widgets of the Review panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QRectF, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QFont, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractButton, QButtonGroup, QFrame, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from napari_bcp.app.parts import button

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREVIEW_MS: Final = 30  # a preview of a large volume takes about as long
_SETTLED_MS: Final = 500  # after the last key press


class Segments(QWidget):
    """A row of buttons of which one is down at most: (name, tooltip) each."""

    chosen = Signal(str)
    """The reader has pressed the button of that name; not sent by `show_choice`."""

    def __init__(self, choices: Sequence[tuple[str, str]], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._group = QButtonGroup(self)
        self.buttons = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(1)
        for name, tip in choices:
            one = button(name[:1].upper() + name[1:], tip, checkable=True)
            one.setMinimumWidth(10)
            self._group.addButton(one)
            self.buttons[name] = one
            row.addWidget(one, 1)
        self._group.buttonClicked.connect(self._pressed)

    def show_choice(self, name: str | None) -> None:
        """Let the button of that name be down, or none."""
        self._group.setExclusive(name is not None)
        for text, one in self.buttons.items():
            one.setChecked(text == name)
        self._group.setExclusive(True)

    def _pressed(self, pressed: QAbstractButton) -> None:
        self.chosen.emit(next(name for name, one in self.buttons.items() if one is pressed))


class SettlingSlider(QWidget):
    """A slider in per cent that tells its value while it moves, and once more when it is let go."""

    previewed = Signal(int)
    settled = Signal(int)

    def __init__(self, low: int, high: int, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(low, high)
        self.slider.setPageStep(5)
        self.slider.setToolTip(tip)
        self.slider.setAccessibleName(tip)
        self._number = QLabel()
        self._number.setMinimumWidth(self._number.fontMetrics().horizontalAdvance("100 %"))
        self._number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.slider, 1)
        row.addWidget(self._number)
        self._preview = QTimer(self, interval=_PREVIEW_MS, singleShot=True)
        self._settle = QTimer(self, interval=_SETTLED_MS, singleShot=True)
        self._preview.timeout.connect(lambda: self.previewed.emit(self.slider.value()))
        self._settle.timeout.connect(self.finish)
        self.slider.valueChanged.connect(self._moved)
        self.slider.sliderReleased.connect(self.finish)
        self._moving = False

    def value(self) -> int:
        """Return the value in per cent."""
        return self.slider.value()

    @property
    def moving(self) -> bool:
        """Whether the slider has moved, and its final value has not been told."""
        return self._moving

    def show_value(self, percent: int) -> None:
        """Move the slider without telling anybody; what has not been told yet is forgotten."""
        self.drop()
        self.slider.blockSignals(True)
        self.slider.setValue(percent)
        self.slider.blockSignals(False)
        self._number.setText(f"{self.slider.value()} %")

    def finish(self) -> None:
        """Tell the final value, if the slider has moved since the last time."""
        moving = self._moving
        self.drop()
        if moving:
            self.settled.emit(self.slider.value())

    def drop(self) -> None:
        """Forget that the slider has moved: somebody else has seen to it."""
        self._preview.stop()
        self._settle.stop()
        self._moving = False

    def _moved(self, percent: int) -> None:
        self._number.setText(f"{percent} %")
        self._moving = True
        if not self._preview.isActive():
            self._preview.start()
        if not self.slider.isSliderDown():
            self._settle.start()  # keys and wheel: final once they rest


def swatch(colour: str) -> QIcon:
    """Return an icon filled with `colour`."""
    image = QPixmap(QSize(32, 32))
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(colour))
    painter.drawRoundedRect(QRectF(2, 2, 28, 28), 6, 6)
    painter.end()
    return QIcon(image)


def bold(label: QLabel) -> QLabel:
    """Return `label` with its text in bold."""
    font = QFont(label.font())
    font.setBold(True)
    label.setFont(font)
    return label


def row_of(*widgets: QWidget | tuple[QWidget, int]) -> QHBoxLayout:
    """Return widgets side by side; (widget, stretch) for one that takes the room there is."""
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(4)
    for one in widgets:
        if isinstance(one, tuple):
            row.addWidget(*one)
        else:
            row.addWidget(one)
    return row


def holding(layout: QHBoxLayout | QVBoxLayout) -> QWidget:
    """Return a widget with a layout."""
    holder = QWidget()
    holder.setLayout(layout)
    return holder


def line_across() -> QFrame:
    """Return a thin line between parts of a panel."""
    made = QFrame()
    made.setFrameShape(QFrame.Shape.HLine)
    made.setFixedHeight(1)
    return made
