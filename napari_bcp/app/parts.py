"""Small parts that several panels are made of.

Messages and questions stand beside what they are about, instead of in windows of their own.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QEvent, QObject, QRectF, Qt
from qtpy.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_bcp.app.text_labels import selectable

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_bcp.app.session import Message
    from napari_bcp.app.theme import Colours

_KEPT: Final = 20
_STRIPE: Final = 4  # pixels


@dataclass(frozen=True)
class Note:
    """A message of a panel itself; the session's messages also say `where` they belong."""

    level: str
    text: str


def button(text: str, tip: str, clicked: Callable[[], object] | None = None, *, checkable: bool = False) -> QPushButton:
    """Return a button with `tip` as tooltip that calls `clicked`; one with a sign alone is named by its tip."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    if len(text) == 1:
        made.setAccessibleName(tip)
    if clicked is not None:
        made.clicked.connect(clicked)
    return made


class _WheelGuard(QObject):
    """Keeps the wheel for the page, so that scrolling past a value does not change it."""

    def eventFilter(self, widget: QObject, event: QEvent) -> bool:
        if event.type() != QEvent.Type.Wheel or (isinstance(widget, QWidget) and widget.hasFocus()):
            return False
        event.ignore()  # goes on to the page
        return True


def guard_wheel(*widgets: QWidget) -> None:
    """Let the wheel change these widgets only once they were clicked, or reached by the keyboard."""
    for one in widgets:
        one.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        one.installEventFilter(_WheelGuard(one))


def wrapped_label(text: str = "") -> QLabel:
    """Return a label that breaks its lines instead of widening the dock."""
    made = QLabel(text)
    made.setWordWrap(True)
    return made


class _Striped(QWidget):
    """A box with a coloured edge on its left."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._stripe = QColor(Qt.GlobalColor.gray)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)

    def set_stripe(self, colour: str) -> None:
        """Paint the edge in `colour`."""
        self._stripe = QColor(colour)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the edge and a tint of it behind the text."""
        painter = QPainter(self)
        tint = QColor(self._stripe)
        tint.setAlpha(36)
        painter.fillRect(self.rect(), tint)
        painter.fillRect(QRectF(0, 0, _STRIPE, self.height()), self._stripe)
        painter.end()


class MessageLine(_Striped):
    """The newest message of a panel, and the earlier ones once it is dismissed; not there without one.

    A warning or error stays until it is dismissed; of several infos in a row only the newest is kept.
    The first line of a message is its sentence, the others are its details.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._messages: list[Message | Note] = []
        self._colours: Colours | None = None
        self._text = wrapped_label()
        selectable(self._text)
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._more = button("Details", "Show or hide the details of the message", checkable=True)
        self._dismiss = button("✕", "Dismiss the message", self.dismiss)
        self._dismiss.setFixedWidth(26)
        self._details = QPlainTextEdit()
        self._details.setReadOnly(True)
        selectable(self._details)
        self._details.setMaximumHeight(120)
        self._details.setTabChangesFocus(True)
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self._text, 1)
        row.addWidget(self._more, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._dismiss, 0, Qt.AlignmentFlag.AlignTop)
        column = QVBoxLayout(self)
        column.setContentsMargins(_STRIPE + 6, 5, 5, 5)
        column.addLayout(row)
        column.addWidget(self._details)
        self._more.toggled.connect(self._details.setVisible)
        self._show()

    @property
    def text(self) -> str:
        """The sentence that is shown, or an empty text."""
        return self._messages[-1].text.partition("\n")[0] if self._messages else ""

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self._colours = colours
        self._colour()

    def show_message(self, message: Message | Note) -> None:
        """Show `message` now."""
        self._messages = [
            old for old in self._messages if old.text != message.text and not (old.level == message.level == "info")
        ][-_KEPT + 1 :]
        self._messages.append(message)
        self._show()

    def dismiss(self) -> None:
        """Take the message away; an earlier one comes back."""
        if self._messages:
            self._messages.pop()
        self._show()

    def clear(self) -> None:
        """Take all messages away: they were about something that is no longer there."""
        self._messages.clear()
        self._show()

    def _show(self) -> None:
        self.setVisible(bool(self._messages))
        if not self._messages:
            return
        message = self._messages[-1]
        sentence, _, details = message.text.partition("\n")
        earlier = len(self._messages) - 1
        sign = {"warning": "⚠ ", "error": "✖ "}.get(message.level, "")
        self._text.setText(sign + sentence + (f"  (+{earlier} earlier)" if earlier else ""))
        self._details.setPlainText(details)
        self._more.setVisible(bool(details))
        self._more.setChecked(False)
        self._details.setVisible(False)
        self._colour()

    def _colour(self) -> None:
        if self._colours is not None and self._messages:
            self.set_stripe(self._colours.level(self._messages[-1].level))


class Question(_Striped):
    """Asks before something that takes work away, where it was asked for; not there without a question.

    The keys go to "Cancel" while it asks, and back to where they were; Escape cancels too.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._action: Callable[[], object] | None = None
        self._before: QWidget | None = None  # had the keys
        self._text = wrapped_label()
        self._yes = button("", "", self._do)
        self._no = button("Cancel", "Leave everything as it is (Escape)", self.cancel)
        row = QHBoxLayout()
        row.addStretch()
        row.addWidget(self._yes)
        row.addWidget(self._no)
        column = QVBoxLayout(self)
        column.setContentsMargins(_STRIPE + 6, 5, 5, 5)
        column.addWidget(self._text)
        column.addLayout(row)
        self.hide()

    def set_colours(self, colours: Colours) -> None:
        """Follow the theme."""
        self.set_stripe(colours.orange)

    def ask(self, text: str, yes: str, action: Callable[[], object]) -> None:
        """Show `text` and a button `yes` that does `action`; a question asked before is forgotten."""
        self._text.setText(text)
        self._yes.setText(yes)
        self._yes.setToolTip(text)
        self._action = action
        if not self.isVisible():
            self._before = QApplication.focusWidget()
        self.show()
        self._no.setFocus()

    def cancel(self) -> None:
        """Forget the question."""
        self._action = None
        self._leave()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Cancel on Escape."""
        if event.key() == Qt.Key.Key_Escape:
            self.cancel()
        else:
            super().keyPressEvent(event)

    def _do(self) -> None:
        action, self._action = self._action, None
        self._leave()
        if action is not None:
            action()

    def _leave(self) -> None:
        before, self._before = self._before, None
        if before is not None and (self._yes.hasFocus() or self._no.hasFocus()):
            with suppress(RuntimeError):  # Qt has deleted it meanwhile
                before.setFocus()
        self.hide()
