"""A class's border that follows a level of its map while a reader looks for the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_bcp.review.boxes import box_of
from napari_bcp.review.cleanup import attached, threshold

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MovingBorder:
    """What stays the same for every level, worked out once, so that the border keeps up with a slider.

    labels : that the border is moved in;  expected : as they would be if nobody had drawn in them by hand
    proposal : labels that the reader began with;  probability : of the class, 0 to 255
    value : the class

    All arrays uint8, of one shape with three axes. What differs between `labels` and `expected` stays, and so do parts
    of the map that neither labels nor proposal have anything of. `box` (a slice an axis) holds all that can change;
    it is None where nothing can. `labels` are what was in it.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8],
        expected: NDArray[np.uint8],
        proposal: NDArray[np.uint8],
        probability: NDArray[np.uint8],
        value: int,
    ) -> None:
        self.value = value
        self.box = box_of((probability > 0) | (labels == value) | (proposal == value), True)
        if self.box is not None:
            self.labels, self._proposal = labels[self.box].copy(), proposal[self.box].copy()
            self._probability = probability[self.box].copy()
            self._pinned = self.labels != expected[self.box]

    def at(self, level: int) -> NDArray[np.uint8]:
        """Return the labels in `box` with the border where the probability is `level` (1 to 255)."""
        if not 1 <= level <= 255:
            raise ValueError(f"level is {level}, expected 1 to 255")
        after = threshold(self.labels, self._probability, self.value, level, pinned=self._pinned)
        return attached(self.labels, after, self.value, self._proposal)
