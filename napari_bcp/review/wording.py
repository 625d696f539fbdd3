"""Classes and volumes as a reader would say them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def plain(names: Mapping[int, str], value: int) -> str:
    """Return the name of a class, `class 3` if it has none."""
    return names.get(value, f"class {value}")


def the(names: Mapping[int, str], value: int) -> str:
    """Return the name of a class with its article: the aorta, but class 3."""
    name = plain(names, value)
    return name if name.lower() == f"class {value}" else f"the {name}"


def millilitres(volume: float) -> str:
    """Return a volume with as many digits as it deserves: 0.35, 4.2, 12, 1,480."""
    if volume >= 10:
        return f"{volume:,.0f}"
    return f"{volume:.1f}" if volume >= 1 else f"{volume:.2g}"
