"""The commands that keep a pool: what is in it, verdicts on its cases, names of its classes, what leaves it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_bcp.cli.arguments import CasesArgument, JsonOption, PoolArgument, count, counted
from napari_bcp.cli.console import open_display, reporter
from napari_bcp.cli.leaving import ALL_SKIPPED
from napari_bcp.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_bcp.cli.console import Display
    from napari_bcp.pool import Case


def add(
    pool: PoolArgument,
    images: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the scans; those that are known stay.")],
    labels: Annotated[Path | None, typer.Option(metavar="DIR", help="Masks, also of cases that have none yet.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add scans to a pool, or masks of cases that never had one.

    Example: [bold]napari-bcp add POOL --images more[/]
    """
    from napari_bcp import api

    with open_display(as_json) as display, api.open_pool(pool, write=True) as opened:
        masks = opened.counts()["accepted"]
        names = api.add(opened, images, labels, reporter("read", display))
        unusable = [case for case in opened.cases("unusable") if case.name in names]
        show_intake(display, opened.notes, unusable)
        left_out = f", {len(unusable)} left out" if unusable else ""
        display.say(f"{count(len(names) - len(unusable))} joined the pool {pool}{left_out}.")
        nothing = len(unusable) == len(names) and opened.counts()["accepted"] == masks
    if unusable and nothing:
        raise typer.Exit(ALL_SKIPPED)


def show_intake(display: Display, notes: Sequence[str], unusable: Sequence[Case]) -> None:
    """Show what was noted while scans came into a pool, and which of them cannot be used."""
    from napari_bcp.events import CaseUnusable, Note

    for text in notes:
        if not any(case.reason in text for case in unusable):  # those come as events of their own
            display.show(Note(text=text))
    for case in unusable:
        display.show(CaseUnusable(case=case.name, reason=case.reason))


def propose(
    pool: PoolArgument,
    number: Annotated[int, typer.Option(metavar="N", min=1, help="How many cases at the most.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print them as a JSON list.")] = False,
) -> None:
    """Name the cases most worth a look, the first one first, and say why.

    Example: [bold]napari-bcp propose POOL --number 1[/]
    """
    from napari_bcp import api

    found = [vars(one) for one in api.propose(pool, number)]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif found:
        print_table([{"case": one["name"], "why": one["reason"]} for one in found])
    else:
        typer.echo("No case waits for a verdict.")


def accept(
    pool: PoolArgument,
    case: Annotated[str, typer.Argument(metavar="CASE", help="Name of the case.")],
    mask: Annotated[Path | None, typer.Argument(metavar="MASK", help="The mask, on the scan's grid.")] = None,
    pseudo_label: Annotated[
        bool, typer.Option("--pseudo-label", help="Instead of a mask: the case's pseudo-label as it is.")
    ] = False,
) -> None:
    """Take a mask, or the pseudo-label, as confirmed for a case.

    Example: [bold]napari-bcp accept POOL patient-07 mended.nii.gz[/]
    """
    from napari_bcp import api

    version = api.accept(pool, case, mask, pseudo_label=pseudo_label, note=lambda text: typer.echo(text, err=True))
    typer.echo(f"{case} is accepted, version {version}.")


def accept_above(
    pool: PoolArgument,
    quality: Annotated[float, typer.Argument(metavar="QUALITY", help="The least of every class, 0 to 1.")],
    as_json: JsonOption = False,
) -> None:
    """Accept the pseudo-labels in which every class has at least this expected quality, by the rule.

    Example: [bold]napari-bcp accept-above POOL 0.95[/]
    """
    from napari_bcp import api
    from napari_bcp.events import Note

    refused: list[str] = []
    with open_display(as_json) as display:
        names = api.accept_above(pool, quality, reporter("accept", display), note=refused.append)
        for text in refused:
            display.show(Note(text=text))
        left_out = f", {len(refused)} left out" if refused else ""
        display.say(f"{count(len(names))} accepted by the rule{left_out}.")
    if refused and not names:
        raise typer.Exit(ALL_SKIPPED)


def reopen(pool: PoolArgument, cases: CasesArgument) -> None:
    """Make accepted cases drafts again; their masks stay in force until others are accepted.

    Example: [bold]napari-bcp reopen POOL patient-07[/]
    """
    from napari_bcp import api

    api.reopen(pool, cases)
    typer.echo(f"{count(len(set(cases)))} reopened.")


def reject(pool: PoolArgument, cases: CasesArgument) -> None:
    """Turn down the pseudo-labels or drafts of cases: they are proposed last until there is a newer map.

    Example: [bold]napari-bcp reject POOL patient-07[/]
    """
    from napari_bcp import api

    api.reject(pool, cases, note=lambda text: typer.echo(text, err=True))
    typer.echo(f"{count(len(set(cases)))} rejected.")


def exclude(pool: PoolArgument, cases: CasesArgument) -> None:
    """Leave cases out of training and predictions.

    Example: [bold]napari-bcp exclude POOL patient-07 patient-09[/]
    """
    from napari_bcp import api

    api.exclude(pool, cases)
    typer.echo(f"{count(len(set(cases)))} excluded.")


def include(pool: PoolArgument, cases: CasesArgument) -> None:
    """Take excluded cases in again, or unusable ones whose file was mended.

    Example: [bold]napari-bcp include POOL patient-07[/]
    """
    from napari_bcp import api

    api.include(pool, cases)
    typer.echo(f"{count(len(set(cases)))} included.")


def reset(pool: PoolArgument, cases: CasesArgument) -> None:
    """Make cases unlabelled: map and draft go, accepted masks are put aside.

    Example: [bold]napari-bcp reset POOL patient-07[/]
    """
    from napari_bcp import api

    api.reset(pool, cases)
    typer.echo(f"{count(len(set(cases)))} unlabelled.")


def classes(
    pool: PoolArgument,
    named: Annotated[
        list[str] | None,
        typer.Argument(metavar="VALUE=NAME", help="Name this class, or add it; also VALUE=NAME:#rrggbb with a colour."),
    ] = None,
) -> None:
    """List the classes of a pool, name them, or add some.

    Example: [bold]napari-bcp classes POOL 1=liver 4=tumour:#cc79a7[/]
    """
    from napari_bcp import api
    from napari_bcp.scans.classes import parse_class

    names, colours = {}, {}
    for value, name, colour in map(parse_class, named or ()):
        names[value] = name
        if colour:
            colours[value] = colour
    if names:
        found = api.name_classes(pool, names, colours, note=lambda text: typer.echo(text, err=True))
    else:
        with api.open_pool(pool) as opened:
            found = opened.classes
    if found:
        print_table([{"value": str(one.value), "name": one.name, "colour": one.colour} for one in found])
    else:
        typer.echo(f"The pool {pool} has no classes yet: name one, such as 1=liver, or accept a mask that has some.")


def export(
    pool: PoolArgument,
    dest: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to.")],
    layout: Annotated[Literal["plain", "nnunet"], typer.Option(help="How to lay the files out.")] = "plain",
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier export that lies there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a pool's masks and pseudo-labels to a folder for other programs.

    Example: [bold]napari-bcp export POOL Dataset001_Liver --layout nnunet[/]
    """
    from napari_bcp import api

    with open_display(as_json) as display:
        counts = api.export(pool, dest, layout, progress=reporter("write", display), replace=replace)
        display.say(f"{dest} has {counted(counts, 'file')}")


def relocate(
    pool: PoolArgument,
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Folder where the scans were.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Folder where they are now.")],
) -> None:
    """Tell a pool that its scans have moved.

    Example: [bold]napari-bcp relocate POOL /old/scans /new/scans[/]
    """
    from napari_bcp import api

    moved = api.relocate(pool, old, new, note=lambda text: typer.echo(text, err=True))
    typer.echo(f"{count(moved)} {'points' if moved == 1 else 'point'} to {new} now.")
