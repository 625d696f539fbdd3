"""Where training cases come from: a pool, messages of another process, or a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_bcp.engine.cache import CaseFiles


class CaseSource(Protocol):
    """Asked before every step, so that what a person accepts or takes back counts at the next one."""

    def revision(self) -> int:
        """Return a number that changes whenever the cases or their masks do; it must be cheap."""

    def labelled(self) -> list[CaseFiles]:
        """Return the cases with a mask."""

    def unlabelled(self) -> list[CaseFiles]:
        """Return the other cases that may be used."""

    def grids(self) -> Sequence[tuple[Sequence[float], Sequence[float]]]:
        """Return shape and spacing (x, y, z; mm) of every usable scan, for the plan."""
