"""The commands, in the order of the work: one function each, which calls a verb of napari_bcp.api and shows it.

What is heavy is imported inside the functions, so that --help answers at once.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from napari_bcp import __version__
from napari_bcp.cli.arguments import DeviceOption, JsonOption, PoolArgument, count, counted
from napari_bcp.cli.console import Display, Outcome, duration, follow, open_display, reporter
from napari_bcp.cli.keeping import (
    accept,
    accept_above,
    add,
    classes,
    exclude,
    export,
    include,
    propose,
    reject,
    relocate,
    reopen,
    reset,
    show_intake,
)
from napari_bcp.cli.leaving import (
    ALL_SKIPPED,
    INTERRUPTED,
    OutputClosed,
    break_off_on_signals,
    exit_code_of,
    stop_on_signals,
)
from napari_bcp.cli.tables import case_rows, print_table, run_rows, setting_rows
from napari_bcp.errors import PoolError, SettingError


class _Commands(TyperGroup):
    """The group of all commands, which notices when the program that reads the output has gone away."""

    def invoke(self, ctx: Any) -> Any:
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise OutputClosed from None


app = typer.Typer(
    name="napari-bcp",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and leave with one of the exit codes that docs/exit-codes.md lists."""
    break_off_on_signals()
    try:
        app(prog_name="napari-bcp")
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the one place where every error becomes a sentence
        sys.exit(exit_code_of(error))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-bcp {__version__}")
        raise typer.Exit


def _show_settings(wanted: bool) -> None:
    if wanted:
        from napari_bcp.config import PRESETS

        print_table(setting_rows())
        typer.echo(f"\nPresets: {', '.join(PRESETS)}.")
        raise typer.Exit


def _show_variations(wanted: bool) -> None:
    if wanted:
        from napari_bcp.evidence.variations import VARIATIONS

        print_table(
            [{"vary": name, "variants": ", ".join(one.name for one in found)} for name, found in VARIATIONS.items()]
        )
        typer.echo("\nAnd any setting that 'napari-bcp train --help-settings' lists: --vary lr=0.001,0.004")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """From a handful of outlined CT or MR scans to masks for a whole cohort.

    The usual way: [bold]new[/], [bold]train[/], [bold]predict[/], [bold]status[/]; mend the masks that need it,
    [bold]accept[/] them, and [bold]train[/] again. [bold]demo[/] shows it all on scans that it makes itself.
    """


@app.command()
def new(
    pool: PoolArgument,
    images: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the scans (.nii, .nii.gz); they stay there.")],
    labels: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the masks, named as the scans.")] = None,
    classes: Annotated[
        Path | None, typer.Option(metavar="FILE", help='Names of the classes, as JSON: {"1": "liver"}.')
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a pool from a folder of scans and the masks that there are.

    Example: [bold]napari-bcp new POOL --images scans --labels masks[/]
    """
    from napari_bcp import api

    with open_display(as_json) as display:
        with api.new_pool(pool, images, labels, classes, progress=reporter("read", display)) as made:
            counts, notes, unusable = made.counts(), made.notes, made.cases("unusable")
        show_intake(display, notes, unusable)
        display.say(f"The pool {pool} has {counted(counts)}. Next: {_again('train', pool)}")
    if unusable and len(unusable) == sum(counts.values()):
        raise typer.Exit(ALL_SKIPPED)


app.command()(add)


@app.command(name="open")
def open_pool(
    pool: Annotated[Path | None, typer.Argument(metavar="POOL", help="Folder of the pool to show.")] = None,
) -> None:
    """Open the window, on a pool if one is named: look, train, mend, accept.

    Example: [bold]napari-bcp open POOL[/]
    """
    from napari_bcp.cli.window import open_window
    from napari_bcp.pool import Pool

    if pool is None:
        raise typer.Exit(open_window())
    Pool.open(pool).close()  # says in the terminal what is wrong with it
    raise typer.Exit(open_window(str(pool)))


@app.command()
def status(
    pool: PoolArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Show what a pool holds, and which cases need a look first.

    Example: [bold]napari-bcp status POOL[/]
    """
    from napari_bcp import api

    found = api.status(pool)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    names = ", ".join(one["name"] for one in found["classes"])
    typer.echo(f"{found['root']}: {counted(found['counts'])}; classes: {names or 'none yet'}")
    for rows in (run_rows(found["runs"]), case_rows(found["cases"])):
        if rows:
            typer.echo()
            print_table(rows)
    if len(found["cases"]) > len(rows):
        typer.echo(f"and {len(found['cases']) - len(rows)} more; --json lists them all")


@app.command()
def train(
    pool: PoolArgument,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="A set of settings; else that of the last run, or quick.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Time to train for, by default 5.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps to train for, instead of a time.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    device: DeviceOption = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new run; else the last one goes on.")] = False,
    as_json: JsonOption = False,
    _settings_table: Annotated[
        bool, typer.Option("--help-settings", callback=_show_settings, is_eager=True, help="List settings and presets.")
    ] = False,
) -> None:
    """Train on a pool, or go on with its last run. Ctrl-C stops and keeps the work.

    Example: [bold]napari-bcp train POOL --minutes 30 --set loss=dml[/]
    """
    if minutes is not None and steps is not None:
        raise SettingError("Give --minutes or --steps, not both.")
    from napari_bcp import api
    from napari_bcp.config import parse_assignments

    started = time.monotonic()
    with open_display(as_json) as display, stop_on_signals() as stop:
        events = api.train(
            pool,
            preset=preset,
            minutes=minutes,
            steps=steps,
            settings=parse_assignments(settings or ()),
            device=device,
            fresh=fresh,
            stop=stop,
        )
        outcome = follow(events, display, stop)
        if outcome.stopped:
            spent = time.monotonic() - started
            _leave_stopped(display, _again("train", pool, *_left(minutes, steps, spent, outcome)))
        if outcome.finished:
            steps_done, took = outcome.finished.step, duration(outcome.finished.elapsed_s)
            display.say(f"The run has {steps_done} steps after {took} of training. Next: {_again('predict', pool)}")


@app.command()
def predict(
    pool: PoolArgument,
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="CASE", help="Only these; else all without a mask.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Make the maps and pseudo-labels of a pool's cases with the trained teacher.

    Example: [bold]napari-bcp predict POOL[/]
    """
    from napari_bcp import api

    with open_display(as_json) as display, stop_on_signals() as stop:
        outcome = follow(api.predict(pool, cases or None, device=device, stop=stop), display, stop)
        if outcome.stopped:
            done = {*outcome.made, *outcome.skipped}
            _leave_stopped(display, _again("predict", pool, *(name for name in cases or () if name not in done)))
        made = _made(outcome) or "Every map is up to date"
        display.say(f"{made}. Next: {_again('status', pool)}")
    _leave_if_all_skipped(outcome)


@app.command()
def segment(
    source: Annotated[Path, typer.Argument(metavar="POOL_OR_CHECKPOINT", help="A trained pool or a checkpoint file.")],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE", help="Scans, or folders of them; they need be in no pool.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder that the masks are written to.")],
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write the map of each class too.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Make files anew that are there already.")] = False,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Segment scans with the teacher of a pool or a checkpoint. Files that are there already stay.

    Example: [bold]napari-bcp segment POOL new/*.nii.gz -o masks[/]
    """
    from napari_bcp import api

    with open_display(as_json) as display, stop_on_signals() as stop:
        events = api.segment(
            source, images, out, probabilities=probabilities, replace=replace, device=device, stop=stop
        )
        outcome = follow(events, display, stop)
        if outcome.stopped:
            _leave_stopped(display, "the same command")
        made = _made(outcome)
        display.say(f"{made} in {out}" if made else f"Every mask is in {out} already")
    _leave_if_all_skipped(outcome)


for _keep in (
    *(propose, accept, accept_above, reopen, reject),
    *(exclude, include, reset, classes, export, relocate),
):
    app.command(_keep.__name__.replace("_", "-"))(_keep)


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS_DIR", help="Folder of the masks to measure.")],
    truth: Annotated[Path, typer.Argument(metavar="TRUTH_DIR", help="Folder of the true masks, named the same.")],
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.")] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a line a case and class.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of the classes, in a file as new takes it.")
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Measure as publications on BCP do, in voxels.")] = False,
) -> None:
    """Measure masks against the truth: overlap, and distances in mm.

    Example: [bold]napari-bcp evaluate masks truth --csv table.csv[/]
    """
    from napari_bcp import api
    from napari_bcp.events import CaseUnusable, Note
    from napari_bcp.scans.pairing import some_of

    with open_display() as display:
        report = api.evaluate(predictions, truth, paper=paper, classes=classes, progress=reporter("measure", display))
        for case, reason in report.refused.items():
            display.show(CaseUnusable(case=case, reason=reason))
        for case in report.missing:
            display.show(CaseUnusable(case=case, reason="there is no prediction of this name"))
        if report.extra:
            display.show(Note(text=f"Not measured, because no true mask has their name: {some_of(report.extra)}."))
    print_table(report.summary_rows())
    failures = []
    for file, write in ((json_file, report.to_json), (csv_file, report.to_csv)):
        try:
            if file:
                write(file)
        except OSError as error:
            failures.append(f"{file} could not be written ({error.strerror or error}); name a file in another place.")
    if failures:
        raise PoolError(" ".join(failures))
    if not report.rows:
        raise typer.Exit(ALL_SKIPPED)


@app.command()
def ablate(
    pool: PoolArgument,
    vary: Annotated[
        str, typer.Option(metavar="WHAT", help="What to change; --help-variations lists it. Or SETTING=V1,V2.")
    ],
    truth: Annotated[Path, typer.Option(metavar="DIR", help="True masks of cases that have none in the pool.")],
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="VARIANT", help="This variant; may be repeated. Else all.")
    ] = None,
    preset: Annotated[str, typer.Option(metavar="NAME", help="The settings that one thing is changed of.")] = "quick",
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Time of each training, by default 2.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps of each training, instead of a time.")] = None,
    seeds: Annotated[int, typer.Option(metavar="N", help="Trainings of each variant.")] = 1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of all of them.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    _variations: Annotated[
        bool, typer.Option("--help-variations", callback=_show_variations, is_eager=True, help="List what can vary.")
    ] = False,
) -> None:
    """Train again and again with one thing changed, and compare. What is done already is not done again.

    Example: [bold]napari-bcp ablate POOL --vary beta --truth truth --minutes 10 --seeds 3[/]
    """
    from napari_bcp.api import open_pool as opened
    from napari_bcp.config import parse_assignments
    from napari_bcp.evidence.ablation import ablate as compare
    from napari_bcp.evidence.ablation import table

    with open_display(as_json) as display, stop_on_signals() as stop, opened(pool, write=True) as found:
        events = compare(
            found,
            truth,
            vary,
            only=only or (),
            preset=preset,
            minutes=minutes,
            steps=steps,
            seeds=seeds,
            settings=parse_assignments(settings or ()),
            device=device,
            stop=stop,
        )
        outcome = follow(events, display, stop)
        if outcome.stopped:
            _leave_stopped(display, "the same command")
        if not as_json:
            # the CSV has the folders, too; here they would take the room of the figures
            print_table([{key: row[key] for key in row if key != "folders"} for row in table(found, vary)])


@app.command()
def features(
    pool: PoolArgument,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Runs such as 0001, or checkpoints; else the last run.")
    ] = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Compare how networks see labelled and unlabelled scans: densities of features, class by class, and distances.

    Example: [bold]napari-bcp features POOL 0001 0002[/]
    """
    from napari_bcp.api import open_pool as opened
    from napari_bcp.evidence.features import compare_features

    with open_display(as_json) as display, stop_on_signals() as stop, opened(pool, write=True) as found:
        outcome = follow(compare_features(found, runs or (), device=device, stop=stop), display, stop)
        if outcome.stopped:
            _leave_stopped(display, _again("features", pool, *(runs or ())))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Tell what this computer offers: device, memory, versions, window system.

    Example: [bold]napari-bcp doctor[/]
    """
    from napari_bcp.cli.doctor import facts, sentences

    found = facts()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        print_table([{"": subject, " ": remark} for subject, remark in sentences(found)])


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for everything that it writes.")] = Path("demo"),
    minutes: Annotated[
        float | None, typer.Option(metavar="M", help="Time to train for; 1, and 10 in a window.")
    ] = None,
    device: DeviceOption = "auto",
    window: Annotated[
        bool | None, typer.Option("--window/--no-window", help="Show it in a window; where there is a screen it does.")
    ] = None,
) -> None:
    """Show the whole way on scans that it makes itself: in a window, or as masks, figures and pictures.

    Example: [bold]napari-bcp demo[/]
    """
    from napari_bcp.cli.demo import run_demo
    from napari_bcp.cli.window import open_window, why_no_window

    if minutes is not None and not minutes > 0:
        raise SettingError("The time must be greater than zero; give --minutes 1, for example.")
    if window or (window is None and not why_no_window()):
        if device != "auto":
            raise SettingError("The window has the device among napari's preferences; leave --device out.")
        raise typer.Exit(open_window("--sample", str(folder), "--train", str(minutes or 10.0)))
    with open_display() as display:
        if not run_demo(folder, {"minutes": minutes or 1.0}, device, display):
            _leave_stopped(display, _again("demo", folder))


def _again(command: str, *arguments: object) -> str:
    """Return a command line that can be pasted into a shell."""
    return shlex.join(["napari-bcp", command, *map(str, arguments)])


def _left(minutes: float | None, steps: int | None, spent: float, outcome: Outcome) -> tuple[str, str]:
    """Return what is left of a training's budget after `spent` seconds, as an option."""
    if steps is None:
        return "--minutes", f"{max(0.1, (minutes or 5.0) - spent / 60):.1f}"
    done = 0 if outcome.finished is None else max(0, outcome.finished.step - (outcome.first_step or 0))
    return "--steps", str(max(1, steps - done))


def _made(outcome: Outcome) -> str:
    """Return how many cases were segmented and left out; an empty text if there was nothing to do."""
    left_out = f", {len(outcome.skipped)} left out" if outcome.skipped else ""
    return f"{count(len(outcome.made))} segmented{left_out}" if outcome.made or outcome.skipped else ""


def _leave_stopped(display: Display, again: str) -> NoReturn:
    """End a command that the user stopped, having said how to go on."""
    display.say(f"Stopped; all work up to here is kept. Go on with: {again}")
    raise typer.Exit(INTERRUPTED)


def _leave_if_all_skipped(outcome: Outcome) -> None:
    """End the command with an error code if there was something to do and none of it could be done."""
    if outcome.skipped and not outcome.made:
        raise typer.Exit(ALL_SKIPPED)
