"""Joins a model's signals to widgets, for as long as the widgets live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

if TYPE_CHECKING:
    from collections.abc import Callable

    from psygnal import SignalInstance
    from qtpy.QtCore import QObject


def listen(widget: QObject, signal: SignalInstance, method: Callable[..., Any]) -> None:
    """Call the bound `method` of `widget` at every `signal`, until Qt deletes the widget.

    Python may know a widget that Qt has deleted already, and a call of it would fail; so its end ends the listening.
    """
    signal.connect(method)
    kept = WeakMethod(method)

    def stop(*_: object) -> None:
        found = kept()
        if found is not None:
            signal.disconnect(found, missing_ok=True)

    widget.destroyed.connect(stop)
