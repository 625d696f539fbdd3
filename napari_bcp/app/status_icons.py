"""A sign for each status of a case: told apart by its shape, and by colour beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF

if TYPE_CHECKING:
    from napari_bcp.app.theme import Colours

_SIZE: Final = 52  # drawn large, so that it is sharp on every screen
_RING: Final = QRectF(6, 6, 40, 40)


def status_colour(status: str, colours: Colours) -> str:
    """Return the colour of a status."""
    return {
        "predicted": colours.blue,
        "draft": colours.orange,
        "accepted": colours.green,
        "unusable": colours.red,
    }.get(status, colours.dim)


def status_icon(status: str, colours: Colours) -> QIcon:
    """Return the sign of a status: ring, half, three quarters, disc with a tick; struck ring, triangle."""
    image = QPixmap(_SIZE, _SIZE)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    colour = QColor(status_colour(status, colours))
    pen = QPen(colour, 6)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    if status == "unusable":
        painter.drawPolygon(QPolygonF([QPointF(26, 6), QPointF(48, 46), QPointF(4, 46)]))
        painter.drawLine(QPointF(26, 20), QPointF(26, 31))
        painter.drawPoint(QPointF(26, 39))
    else:
        painter.drawEllipse(_RING)
    if status == "excluded":
        painter.drawLine(QPointF(12, 40), QPointF(40, 12))
    eighths = {"predicted": 4, "draft": 6, "accepted": 8}.get(status, 0)
    if eighths:
        painter.setBrush(colour)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.drawPie(_RING, 90 * 16, -eighths * 45 * 16)
    if status == "accepted":
        painter.setPen(QPen(QColor(colours.surface), 6))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF([QPointF(15, 27), QPointF(23, 35), QPointF(37, 18)]))
    painter.end()
    return QIcon(image)
