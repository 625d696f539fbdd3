"""What a user has chosen once and for all, in napari under Preferences → napari-bcp.

napari keeps such choices from version 0.9 on; with an older one the defaults hold. What can be chosen stands in
`napari.yaml`, with the same defaults and ranges as here.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from napari_bcp.config import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preferences:
    """What a training begins with, and on what it runs.

    minutes : how long it lasts, unless chosen otherwise
    preset : its recipe, a key of `config.PRESETS`, unless chosen otherwise
    device : "auto", "cpu" or "cuda:N"
    threads : of the processor, for training and maps; 0 means all cores but one
    map_share : part of the time, 0 to 0.9, in which maps are made while nobody waits for one
    """

    minutes: int = 30
    preset: str = "quick"
    device: str = "auto"
    threads: int = 0
    map_share: float = 0.1


def load() -> Preferences:
    """Return the preferences as they are now; the default for each that is not there, or out of its range.

    Never raises: a training must not fail because of a file of settings.
    """
    try:
        from napari.settings import get_plugin_settings

        stored = get_plugin_settings("napari-bcp").training
    except (ImportError, KeyError, AttributeError):
        return Preferences()  # no napari, an older one, or the plugin is switched off there
    except Exception:  # noqa: BLE001 - napari reads the files of all plugins here, and any of them may be broken
        _log.warning("napari's settings cannot be read: the defaults are used.", exc_info=True)
        return Preferences()
    found: dict[str, Any] = {field.name: getattr(stored, field.name, None) for field in fields(Preferences)}
    return Preferences(**{name: value for name, value in found.items() if _FITS[name](value)})


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "minutes": _whole(1, 100_000),
    "preset": lambda value: isinstance(value, str) and value in PRESETS,
    "device": lambda value: isinstance(value, str) and re.fullmatch(r"auto|cpu|cuda:\d{1,3}", value) is not None,
    "threads": _whole(0, 256),
    "map_share": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 0.9,
}
