"""Results as tables: rows of text from what the verbs return, and one way to print them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_CASES_SHOWN = 40
_WIDTH_WITHOUT_TERMINAL = 140
_FIRST = ("draft", "predicted", "unusable", "unlabelled", "accepted", "excluded")


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Print rows with the same keys to standard output, the keys as headings."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for heading in rows[0]:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row.values()))  # Text, because [1, 2] would be read as markup
    Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL).print(table)


def setting_rows() -> list[dict[str, str]]:
    """Return a row for every setting of a training."""
    from napari_bcp.config import settings_table

    rows = []
    for setting in settings_table():
        rows.append(
            {
                "setting": setting["name"],
                "default": _default(setting["default"]),
                "values": ", ".join(map(str, setting["choices"] or ())) or setting["span"],
                "unit": setting["unit"],
                "meaning": setting["help"],
            }
        )
    return rows


def run_rows(runs: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a row for every run of a pool's status."""
    from napari_bcp.cli.console import duration

    return [
        {
            "run": str(run["id"]),
            "preset": str(run["preset"]),
            "steps": str(run["step"]),
            "time": duration(run["elapsed_s"]),
            "state": str(run["status"]),
        }
        for run in runs
    ]


def case_rows(cases: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a row for the cases of a pool's status that need a look first: drafts, then the least certain."""

    def urgency(case: Mapping[str, Any]) -> tuple[int, float, str]:
        return _FIRST.index(case["status"]), _lowest(case), case["name"]

    return [
        {
            "case": case["name"],
            "status": case["status"],
            "expected": _expected(case),
            "mask": "" if case["mask_version"] is None else f"version {case['mask_version']}",
            "remark": case["reason"] or "",
        }
        for case in sorted(cases, key=urgency)[:_CASES_SHOWN]
    ]


def _expected(case: Mapping[str, Any]) -> str:
    """Return the band of expected quality of the class that is least certain, and whether one was not found."""
    from napari_bcp.metrics.confidence import band, lowest

    quality = case["quality"] or {}
    if None in quality.values():
        return "nothing found" if set(quality.values()) == {None} else "low, a class not found"
    return band(lowest(quality)) or ""


def _lowest(case: Mapping[str, Any]) -> float:
    """Return the confidence of the class that is least certain; 2, which sorts last, where nothing is predicted."""
    from napari_bcp.metrics.confidence import lowest

    found = lowest(case["quality"] or {})
    return 2.0 if found is None else found


def _default(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def settings_page() -> str:
    """Return docs/settings.md: all settings, and what each preset changes."""
    from napari_bcp.config import PRESETS
    from napari_bcp.pool.runs import LASTING_SETTINGS

    lines = [
        "# Settings",
        "",
        "`--set key=value` changes any of these for `napari-bcp train`; a list is written `--set spacing=1,1,2`. A run "
        "that goes on keeps its settings, and what is set is laid over them; of "
        + ", ".join(f"`{name}`" for name in LASTING_SETTINGS)
        + " none can change while it does: `--fresh` begins a new run.",
        "",
        "| setting | default | values | unit | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(v.replace("|", "\\|") for v in row.values()) + " |" for row in setting_rows()]
    lines += ["", "# Presets", "", "What each preset changes; `quick` is the defaults.", ""]
    for name, changes in PRESETS.items():
        settings = ", ".join(f"{key} {_default(value)}" for key, value in changes.items()) or "nothing"
        lines += [f"- `{name}`: {settings}."]
    return "\n".join(lines) + "\n"
