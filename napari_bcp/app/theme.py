"""Colours for what the panels paint themselves, taken from napari's theme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from napari.utils.theme import get_theme
from qtpy.QtGui import QColor

# Okabe and Ito, "Color Universal Design" (2008), and darker ones of the same hues for a light background.
_ON_DARK: Final = {"blue": "#56b4e9", "orange": "#e69f00", "green": "#3fbf93", "red": "#f2784b"}
_ON_LIGHT: Final = {"blue": "#0072b2", "orange": "#a86400", "green": "#00795a", "red": "#ad4200"}


@dataclass(frozen=True)
class Colours:
    """Colours as #rrggbb. `background`, `surface` (of tables), `text` and `dim` text are the theme's own.

    Blue, orange, green and red tell statuses and levels apart, with every common colour blindness and on both kinds
    of theme; none of them ever stands alone: a word or a shape says the same.
    """

    background: str
    surface: str
    text: str
    dim: str
    blue: str
    orange: str
    green: str
    red: str

    def level(self, name: str) -> str:
        """Return the colour of a message's level: info, warning or error."""
        return {"warning": self.orange, "error": self.red}.get(name, self.blue)


def colours_of(theme: str) -> Colours:
    """Return the colours of napari's theme of that id; "system" is whichever the desktop asks for."""
    found = get_theme(theme)
    background, text = QColor(found.background.as_hex("long")), QColor(found.text.as_hex("long"))
    accents = _ON_DARK if background.lightness() < text.lightness() else _ON_LIGHT
    return Colours(
        background=background.name(),
        surface=QColor(found.foreground.as_hex("long")).name(),
        text=text.name(),
        dim=mixed(text, background, 0.35).name(),
        **accents,
    )


def mixed(one: QColor, other: QColor, share: float) -> QColor:
    """Return `one` with a `share` (0 to 1) of `other` in it."""
    pairs = ((one.red(), other.red()), (one.green(), other.green()), (one.blue(), other.blue()))
    return QColor(*(round(a * (1 - share) + b * share) for a, b in pairs))
