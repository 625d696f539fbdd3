"""A slide of a class's border along its map: worked out beside the window, a preview, and one edit in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_bcp.pool.edit_records import difference

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_bcp.app.background import Background
    from napari_bcp.app.opened import OpenCase
    from napari_bcp.review.border import MovingBorder


@dataclass(frozen=True)
class _Wish:
    case: OpenCase
    value: int
    level: int
    final: bool


class BorderSlide:
    """Follows a slider, level by level; of levels that come faster than they can be shown only the last is.

    failed : called with what went wrong;  still : when no level is on its way any more. Lives on the window's thread.
    """

    def __init__(
        self, background: Background, failed: Callable[[Exception], None], still: Callable[[], object] = bool
    ) -> None:
        self._background, self._failed, self._still = background, failed, still
        self._known: tuple[OpenCase, int, MovingBorder] | None = None  # the last one, and the labels' version
        self._wishes: list[_Wish] = []
        self._waiting: list[Callable[[], None]] = []
        self.moving = False
        """Whether a level is being worked out."""

    def move(self, case: OpenCase, value: int, level: int, final: bool) -> None:
        """Show the border of a class at `level` (1 to 255), soon; make it one edit once `final`."""
        if self._wishes and not self._wishes[-1].final:
            self._wishes.pop()
        self._wishes.append(_Wish(case, value, level, final))
        if not self.moving:
            self._go_on()

    def forget(self) -> None:
        """Let go of the case whose border was moved last, and of its arrays."""
        self._known = None

    def when_still(self, then: Callable[[], None]) -> None:
        """Do what needs the last level to be an edit already, or the last preview to be shown."""
        if self.moving:
            self._waiting.append(then)
        else:
            then()

    def _go_on(self) -> None:
        self.moving = bool(self._wishes)
        if self.moving:
            self._work(self._wishes.pop(0))
            return
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()
        self._still()

    def _work(self, wish: _Wish) -> None:
        case, version = wish.case, wish.case.edits.version
        known = None
        if self._known is not None and self._known[:2] == (case, version) and self._known[2].value == wish.value:
            known = self._known[2]

        def work() -> Callable[[], None]:
            border = case.moving_border(wish.value) if known is None else known
            if border.box is None:
                return _nothing
            box, labels = border.box, border.at(wish.level)
            edit = difference(case.border_name(wish.value, wish.level), border.labels, labels) if wish.final else None

            def show() -> None:
                self._known = (case, version, border)
                if not case.editable or case.edits.version != version:
                    return  # a stroke or an undo came between
                case.edits.preview("move border", labels, box, case.border_name(wish.value, wish.level))
                if wish.final:
                    case.settle_border(wish.value, wish.level, edit)

            return show

        def done(show: Callable[[], None]) -> None:
            try:
                show()
            finally:
                self._go_on()

        def failed(error: Exception) -> None:
            self._failed(error)
            self._go_on()

        self._background.run("edit", work, done, failed)


def _nothing() -> None:
    return None
