"""Where training cases come from: a pool, messages of another process, or a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from napari_bcp.engine.cache import CaseFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_bcp.pool import Pool


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


class PoolSource:
    """The pool as training sees it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def revision(self) -> int:
        """Return a number that changes with the pool."""
        return self._pool.revision

    def labelled(self) -> list[CaseFiles]:
        """Return the cases with a mask in force: that of a reopened case is, until the next one is accepted."""
        cases = self._pool.cases(("accepted", "draft"))  # not all of them: it is asked again at every acceptance
        return [CaseFiles(c.name, c.path, self._pool.mask_file(c)) for c in cases if c.has_mask]

    def unlabelled(self) -> list[CaseFiles]:
        """Return the cases without one."""
        cases = self._pool.cases(("unlabelled", "predicted", "draft"))
        return [CaseFiles(c.name, c.path) for c in cases if c.mask_version is None]

    def grids(self) -> list[tuple[tuple[int, int, int], tuple[float, float, float]]]:
        """Return shape and spacing of every case that takes part."""
        cases = self._pool.cases(("unlabelled", "predicted", "draft", "accepted"))
        return [(c.shape, c.spacing) for c in cases if c.shape and c.spacing]
