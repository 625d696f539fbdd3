"""Arguments and options that several commands have, and how commands count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

PoolArgument = Annotated[Path, typer.Argument(metavar="POOL", help="Folder that holds the cohort's state.")]
CasesArgument = Annotated[list[str], typer.Argument(metavar="CASE", help="Names of the cases.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Write events to standard output, one JSON object a line.")]
DeviceOption = Annotated[str, typer.Option(metavar="NAME", help="Where to compute: auto, cpu or cuda:N.")]


def count(number: int, thing: str = "case") -> str:
    """Return "1 case" or "24 cases"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def counted(counts: Mapping[Any, int], thing: str = "case") -> str:
    """Return "24 cases (4 accepted, 20 unlabelled)" for counts by kind."""
    kinds = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
    return count(sum(counts.values()), thing) + (f" ({kinds})" if kinds else "")
