"""Checkpoints: everything a run needs to go on, and everything a map needs, in one file.

Only tensors, numbers and strings are stored and `torch.load(weights_only=True)` reads them: nothing in a
checkpoint can run code. The last one before the newest is kept, in case the newest cannot be read.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import torch

from napari_bcp.errors import CheckpointError
from napari_bcp.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically; a `last.pt` that is there becomes `previous.pt`. Raises CheckpointError."""
    try:
        with atomic_path(path) as part:
            torch.save({"napari_bcp": VERSION, **content}, part)
            if path.name == LAST and path.exists():
                with atomic_path(path.with_name(PREVIOUS)) as part_of_previous:
                    shutil.copyfile(path, part_of_previous)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} could not be written ({error}); free some space or give write access, and train on.", path=path
        ) from None


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint.

    Raises CheckpointError when it is missing, torn, no checkpoint of ours, or of a newer version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"There is no checkpoint {path}; train first with 'napari-bcp train'.", path=path
        ) from None
    except Exception:  # noqa: BLE001 - a damaged file may lead to any of them
        raise CheckpointError(
            f"{path} is torn or is no checkpoint; use an older one from the same folder or train again.", path=path
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("napari_bcp"), int):
        raise CheckpointError(f"{path} is no checkpoint of napari-bcp; name one from a pool's runs folder.", path=path)
    if content["napari_bcp"] > VERSION:
        raise _NewerError(f"{path} was written by a newer napari-bcp; update napari-bcp to use it.", path=path)
    return content


def load_newest(folder: Path) -> dict[str, Any]:
    """Read `last.pt` of a run, or `previous.pt` where that cannot be read: then `note` says so.

    Raises CheckpointError when neither can, or a newer napari-bcp has written it.
    """
    try:
        return load(folder / LAST)
    except _NewerError:
        raise
    except CheckpointError:
        if not (folder / PREVIOUS).exists():
            raise
    content = load(folder / PREVIOUS)
    note = f"The newest checkpoint of run {folder.name} cannot be read; the one before it is used instead."
    return {**content, "note": note}


class _NewerError(CheckpointError):
    """The checkpoint is of a release to come."""
