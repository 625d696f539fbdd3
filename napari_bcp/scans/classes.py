"""The classes of a cohort: value in the mask, name, colour."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_bcp.errors import SettingError
from napari_bcp.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable

# Okabe and Ito, "Color Universal Design" (2008), without black, and seven more that are as far from them and from each
# other with every common colour blindness.
COLOURS = (
    *("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"),
    *("#ccffcc", "#a030ff", "#30ff80", "#e00050", "#9090ff", "#ffb4d6", "#84c57d"),
)

_LARGEST_FILE = 16 << 20


@dataclass(frozen=True)
class ClassSpec:
    """A class: its `value` in masks (1 to 255), its `name`, and its `colour` as #rrggbb.

    Raises SettingError for a value, name or colour that is none.
    """

    value: int
    name: str
    colour: str

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not 1 <= self.value <= 255:
            raise SettingError(f"{self.value!r} is no value of a class: use a whole number from 1 to 255.")
        if not isinstance(self.name, str) or not self.name.isprintable() or not 0 < len(self.name.strip()) <= 80:
            raise SettingError(f"{self.name!r} is no name of class {self.value}: use 1 to 80 printable characters.")
        if not isinstance(self.colour, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
            raise SettingError(f"{self.colour!r} is no colour of class {self.value}: write it as #rrggbb.")


def default_colour(value: int) -> str:
    """Return the colour of a class that has none of its own: always the same for the same value."""
    return COLOURS[(value - 1) % len(COLOURS)]


def default_classes(values: Iterable[int]) -> tuple[ClassSpec, ...]:
    """Return classes named after their values, in order; 0, the background, is left out."""
    return tuple(
        ClassSpec(value, f"class {value}", default_colour(value)) for value in sorted({*map(int, values)} - {0})
    )


def check_classes(specs: Iterable[ClassSpec]) -> None:
    """Raise SettingError if a value or a name (in small or large letters) stands twice, or one is the background's."""
    seen: set[object] = {0, "background"}
    for spec in specs:
        for part in (spec.value, spec.name.lower()):
            if part in seen:
                raise SettingError(
                    f"Class {spec.value} '{spec.name}' has a value or name that is taken; give every class its own."
                )
            seen.add(part)


def read_classes(path: str | Path) -> tuple[ClassSpec, ...]:
    """Read the classes from a file, in order of their values.

    It may be JSON, `{"1": "liver"}` or `{"1": {"name": "liver", "colour": "#e69f00"}}`; the `dataset.json` of
    nnU-Net or the Medical Segmentation Decathlon; or text with a line a class, `1 liver #e69f00`, the colour
    being optional. Raises SettingError if it is none of these or names a value or a name twice.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise SettingError(f"{path.name} cannot be read ({error.strerror}): check the path.", path=path) from None
    except UnicodeDecodeError:
        raise SettingError(f"{path.name} is no text: give a JSON or text file of classes.", path=path) from None
    if len(content) > _LARGEST_FILE:
        raise SettingError(f"{path.name} is too large for a file of classes: give another one.", path=path)
    try:
        found = _from_json(text) if text.lstrip().startswith(("{", "[")) else _from_lines(text)
        classes = tuple(sorted(found, key=lambda spec: spec.value))
        check_classes(classes)
        if not classes:
            raise SettingError("there is no class in it.")
    except SettingError as error:
        raise SettingError(f"{path.name} cannot be used for the classes: {error}", path=path) from None
    return classes


def write_classes(path: str | Path, classes: Iterable[ClassSpec]) -> None:
    """Write classes as JSON that `read_classes` reads."""
    table = {str(spec.value): {"name": spec.name, "colour": spec.colour} for spec in classes}
    write_text(path, json.dumps(table, indent=2, ensure_ascii=False) + "\n")


def parse_class(text: str) -> tuple[int, str, str]:
    """Return value, name and colour of a class written as `4=tumour:#cc79a7`, or `4=tumour` with an empty colour.

    Raises SettingError for text of another form.
    """
    value, equals, name = text.partition("=")
    if not (equals and value.strip().isdecimal()):
        raise SettingError(f"{text[:60]!r} names no class; write VALUE=NAME, such as 4=tumour.")
    rest, _, colour = name.rpartition(":#")
    return _value(value.strip()), (rest if rest else name).strip(), f"#{colour}" if rest else ""


def _from_json(text: str) -> list[ClassSpec]:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingError("it is no valid JSON.") from None
    if isinstance(table, dict) and "labels" in table:
        table = table["labels"]
    if not isinstance(table, dict):
        raise SettingError('write {"1": "liver", "2": "tumour"}.')
    classes = []
    for key, entry in table.items():
        if key.strip().isdecimal():  # value: name
            value, name = _value(key), entry
        elif key == "ignore":
            raise SettingError("voxels to ignore are not supported; give them a class or make them background.")
        else:  # name: value, as nnU-Net has it
            value, name = entry, key
        colour = None
        if isinstance(name, dict):
            colour, name = name.get("colour", name.get("color")), name.get("name")
        if isinstance(value, list):
            raise SettingError(f"{name!r} is a region of several classes, and only plain classes are supported.")
        if value == 0 and not isinstance(value, bool):
            continue
        classes.append(_spec(value, name, colour))
    return classes


def _from_lines(text: str) -> list[ClassSpec]:
    classes = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        colour = words.pop() if len(words) > 2 and words[-1].startswith("#") else None
        if len(words) < 2 or not words[0].isdecimal():
            raise SettingError(f"{line.strip()[:60]!r} is no line of the form '1 liver #e69f00'.")
        value = _value(words[0])
        if value:
            classes.append(_spec(value, " ".join(words[1:]), colour))
    return classes


def _value(text: str) -> int:
    if len(text) > 9:
        raise SettingError(f"{text[:20]!r} is no value of a class: use a whole number from 1 to 255.")
    return int(text)


def _spec(value: object, name: object, colour: object) -> ClassSpec:
    """Return a class from values of any type; ClassSpec itself refuses what does not fit."""
    plain = value if isinstance(value, int) else -1
    return ClassSpec(plain, name.strip() if isinstance(name, str) else name, colour or default_colour(plain))  # type: ignore[arg-type]
