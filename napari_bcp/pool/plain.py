"""The state of a pool as plain values, for other programs; docs/formats.md describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_bcp.pool.records import Case
    from napari_bcp.pool.store import Pool


def plain_state(pool: Pool) -> dict[str, Any]:
    """Return root, classes, counts, runs and cases of a pool, JSON-able; None stands for what is not there."""
    return {
        "root": str(pool.root),
        "classes": [{"value": one.value, "name": one.name, "colour": one.colour} for one in pool.classes],
        "counts": dict(pool.counts()),
        "runs": [
            {"id": one.id, "preset": one.preset, "step": one.step, "elapsed_s": one.elapsed_s, "status": one.status}
            for one in pool.runs()
        ],
        "cases": [_plain_case(pool, case) for case in pool.cases()],
    }


def _plain_case(pool: Pool, case: Case) -> dict[str, Any]:
    found, mask = case.map, pool.mask_file(case)
    return {
        "name": case.name,
        "status": case.status,
        "path": str(case.path),
        "reason": case.reason,
        "shape": None if case.shape is None else list(case.shape),
        "spacing": None if case.spacing is None else list(case.spacing),
        "run": None if found is None else found.run,
        "step": None if found is None else found.step,
        "map_path": None if found is None else str(found.map_path),
        "pseudo_path": None if found is None else str(found.pseudo_path),
        "quality": None if found is None else {str(value): one for value, one in found.quality.items()},
        "entropy": None if found is None else found.entropy,
        "mask_version": case.mask_version,
        "mask_path": None if mask is None else str(mask),
        "changed": case.changed,
    }
