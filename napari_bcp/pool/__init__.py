"""The pool: the folder that holds a cohort's state, its table, masks, maps and runs. Scans stay where they are."""

from napari_bcp.pool.fingerprint import Fingerprint
from napari_bcp.pool.records import RUN_STATUSES, Case, Event, MapRecord, RunRecord
from napari_bcp.pool.status import STATUSES, TRANSITIONS, Status
from napari_bcp.pool.store import Pool

__all__ = [
    "RUN_STATUSES",
    "STATUSES",
    "TRANSITIONS",
    "Case",
    "Event",
    "Fingerprint",
    "MapRecord",
    "Pool",
    "RunRecord",
    "Status",
]
