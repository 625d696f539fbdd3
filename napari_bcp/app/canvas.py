"""napari's canvas of a viewer, and what is mended of it."""

from __future__ import annotations

from typing import Any, Final

from napari.qt import QtViewer
from qtpy.QtWidgets import QApplication
from vispy.gloo import gl

_NOTHING: Final = object()


def itself(viewer: Any) -> Any:
    """Return the viewer: plugins are handed a proxy, whose parts are proxies and no parts of it."""
    return getattr(viewer, "__wrapped__", viewer)


def canvas_of(viewer: Any) -> Any:
    """Return the canvas that shows `viewer` (its widget is `native`), or None where there is no window."""
    shown = [one for one in QApplication.allWidgets() if isinstance(one, QtViewer) and one.viewer is itself(viewer)]
    return shown[0].canvas if shown else None


def guard(canvas: Any) -> None:
    """Let each drawing of `canvas` begin when the one before it is done.

    Without, Mesa's software drawing (22.3, napari 0.9.2) dies of an access to freed memory two or three drawings after
    a pool with an open case was closed: six times of six, and none of six with it. It takes about a millisecond.
    """
    scene = getattr(canvas, "_scene_canvas", None)  # napari's own, and nothing to fail for where it has another name
    if scene is not None:
        scene.events.draw.connect(_finish, position="first")


def enter(canvas: Any) -> None:
    """Let OpenGL's next commands be meant for this canvas, if it is one that draws.

    Layers that come to one window while another is current make Mesa (22.3) die, each time.
    """
    native = getattr(canvas, "native", None)
    if native is not None and hasattr(native, "makeCurrent"):
        native.makeCurrent()


def darken(viewer: Any, dark: bool) -> None:
    """Draw black behind a scan, as every reader is used to, whatever the theme; or no more."""
    canvas: Any = getattr(itself(viewer), "canvas", None)
    override = getattr(canvas, "background_color_override", _NOTHING)
    if override is not _NOTHING and (override is not None) != dark:  # napari before 0.9 keeps to the theme
        canvas.background_color_override = "black" if dark else None


def uncover_brush(viewer: Any) -> None:
    """Take away the dark box that napari 0.9 draws in the middle of the brush's circle, over what is to be painted.

    It comes when layers change while a brush is in hand.
    """
    overlays = getattr(getattr(itself(viewer), "canvas", None), "overlays", {})
    circle = overlays.get("_brush_circle")
    if circle is not None:
        circle.box = False


def _finish(_event: Any) -> None:
    gl.glFinish()
