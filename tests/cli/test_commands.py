"""Every command calls its verb with what was asked, and shows what comes back."""

import json
import re
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from napari_bcp.cli.main import app
from napari_bcp.cli.tables import setting_rows
from napari_bcp.config import PRESETS, TrainConfig, parse_assignments
from napari_bcp.events import CaseUnusable, Event, Finished, MapMade, Note, Planned, Progress, Saved, Step, Validated
from napari_bcp.metrics.report import Report, measure_case

COMMANDS = [one.name or one.callback.__name__ for one in app.registered_commands]
EVENT = TypeAdapter(Event)

A_MAP = MapMade(
    case="a",
    run="0001",
    step=7,
    map_path="m",
    pseudo_path="p",
    quality={1: 0.9, 2: None},
    entropy=0.1,
    volume_ml={1: 2.5},
    islands={1: 0},
    seconds=1.0,
)
UNUSABLE = CaseUnusable(case="b", reason="b.nii is empty; export it again.")
TRAINING = [
    Planned(run="0001", plan={}, settings={}, labelled=4, unlabelled=20, step=0),
    Progress(task="prepare", done=1, total=4, case="a"),
    *(Step(step=i, stage=1, loss=0.5, lr=1e-3, elapsed_s=i, steps_per_s=2, share=i / 1000) for i in range(1, 1001)),
    Validated(step=1000, dice={1: 0.91}, best=True),
    Saved(step=1000, path="c"),
    Finished(reason="budget", step=1000, elapsed_s=300),
]


def recorder(answer):
    """Return a verb that gives `answer`, and the list of calls that it got."""
    calls = []

    def verb(*arguments, **options):
        calls.append((arguments, options))
        return answer

    return verb, calls


def events_of(text):
    """Return the events on standard output; every line must be one."""
    return [EVENT.validate_json(line) for line in text.splitlines()]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_begins_with_a_line_and_an_example(command, name):
    """A person who reads no further can use it."""
    done = command(name, "--help")
    text = " ".join(done.out.split())
    assert done.code == 0
    assert re.match(rf"Usage: napari-bcp {name} .*? [A-Z][^.]+\. .*?Example: napari-bcp {name} ?", text)


def test_the_help_lists_the_commands_in_the_order_of_the_work(command):
    """And only the documented ones."""
    text = command("--help").out
    assert re.findall(r"^│ ([a-z][a-z-]+) ", text, re.MULTILINE) == COMMANDS
    assert set(COMMANDS) == {
        *("new", "add", "open", "status", "train", "predict", "segment", "propose", "accept", "accept-above"),
        *("reopen", "reject", "exclude", "include", "reset", "classes", "export", "relocate"),
        *("evaluate", "ablate", "features", "doctor", "demo"),
    }


def test_the_version_is_told(command):
    """As package managers know it."""
    assert re.fullmatch(r"napari-bcp \d+\.\d+\.\d+\S*\n", command("--version").out)


def test_a_shell_completes_commands(command, monkeypatch):
    """The shell asks by environment variables."""
    monkeypatch.setenv("_NAPARI_BCP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "napari-bcp rel")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert command().out.split() == ["relocate"]


def test_the_settings_are_listed_without_a_pool(command):
    """With the names that --set and --preset take."""
    done = command("train", "--help-settings")
    assert done.code == 0
    assert set(TrainConfig.model_fields) <= {line.split(" ")[0] for line in done.out.splitlines()}
    assert all(preset in done.out for preset in PRESETS)


def test_training_passes_on_what_was_asked(command, tmp_path):
    """Settings are read as values, not as text."""
    train, calls = recorder(TRAINING)
    done = command(
        *("train", tmp_path, "--preset", "quality", "--steps", 9, "--device", "cpu", "--fresh"),
        *("--set", "loss=dml", "--set", "patch=64,64,32"),
        train=train,
    )
    [((root,), options)] = calls
    stop = options.pop("stop")
    assert root == tmp_path
    assert options.pop("settings") == {"loss": "dml", "patch": [64, 64, 32]}
    assert options == {"preset": "quality", "minutes": None, "steps": 9, "device": "cpu", "fresh": True}
    assert stop() is False
    assert done.code == 0
    assert "1000 steps" in done.out
    assert f"napari-bcp predict {tmp_path}" in done.out


def test_the_help_says_that_the_last_run_goes_on_with_its_preset(command):
    """Not that it would become quick."""
    assert "else that of the last run, or quick" in " ".join(command("train", "--help").out.replace("│", " ").split())


def test_none_is_a_word_where_a_setting_has_it_and_an_empty_value_elsewhere():
    assert parse_assignments(["augment=none", "width=none"]) == {"augment": "none", "width": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (".5,.5,1", [0.5, 0.5, 1]),
        ("1, 2.5,-.5", [1, 2.5, -0.5]),
        ("64,64,32", [64, 64, 32]),
        ("[64,64,32]", [64, 64, 32]),
        (".001", 0.001),
        ("a,b", "a,b"),
        ("1,b", "1,b"),
    ],
)
def test_numbers_are_read_as_people_write_them(text, value):
    assert parse_assignments([f"spacing={text}"]) == {"spacing": value}


def test_a_list_says_which_numbers_a_setting_takes():
    rows = {row["setting"]: row["values"] for row in setting_rows()}
    told = ("beta", "momentum", "lr", "alpha", "save_every", "stage1_steps", "patch", "mask")
    assert [rows[name] for name in told] == [
        "above 0, below 1",
        "from 0, below 1",
        "above 0, up to 10",
        "0 to 1",
        "above 0",
        "from 0",
        "",
        "box, contact, random",
    ]


def test_an_unknown_name_is_told_with_those_that_there_are(command):
    """A sentence goes on in small letters; one begins after a question."""
    assert re.search(r"no preset 'xyz'; known: paper-acdc, .*, quick\.$", command("train", "p", "--preset", "xyz").err)
    assert "no preset 'quik'; did you mean 'quick'? Known: paper" in command("train", "p", "--preset", "quik").err


def test_training_takes_minutes_or_steps(command):
    """Both at once could only be guessed at."""
    done = command("train", "pool", "--minutes", 1, "--steps", 9)
    assert (done.code, done.out) == (2, "")
    assert "not both" in done.err


def test_a_log_file_gets_a_line_now_and_then(command):
    """A thousand steps are ten or so lines; what matters is never left out."""
    lines = command("train", "pool", train=recorder(TRAINING)[0]).err.splitlines()
    steps = [line for line in lines if line.startswith("train: stage 1")]
    assert 10 <= len(steps) <= 11
    assert "Run 0001 starts: 4 cases with masks, 20 without." in lines
    assert "Dice on the held-out cases after step 1000: class 1: 0.910 (best so far)" in lines


@pytest.mark.parametrize(
    ("arguments", "verb", "events"),
    [
        (["train", "pool"], "train", TRAINING),
        (["predict", "pool"], "predict", [A_MAP, UNUSABLE, Finished(reason="done")]),
        (["segment", "pool", "a.nii", "-o", "out"], "segment", [A_MAP, Finished(reason="done")]),
    ],
)
def test_with_json_the_output_is_the_events(command, arguments, verb, events):
    """Each as it was, one a line, with one note for the result."""
    done = command(*arguments, "--json", **{verb: recorder(events)[0]})
    *same, result = events_of(done.out)
    assert same == events
    assert isinstance(result, Note)
    assert (done.code, done.err) == (0, "")


def test_a_stopped_prediction_names_the_command_that_goes_on(command):
    """With those of the cases that were asked for which are left."""
    predict, calls = recorder([A_MAP, UNUSABLE, Finished(reason="stopped")])
    done = command("predict", "my pool", "a", "b", "c", predict=predict)
    assert done.code == 130
    assert "napari-bcp predict 'my pool' c\n" in done.out
    assert calls[0][0][1] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (("--steps", "100"), r"--steps 30"),
        (("--minutes", "20"), r"--minutes (19\.9|20\.0)"),
        ((), r"--minutes (4\.9|5\.0)"),
    ],
)
def test_a_stopped_training_names_the_command_for_what_is_left(command, budget, left):
    """Of its steps or minutes: they come on top of what was done."""
    going_on = [TRAINING[0].model_copy(update={"step": 1000}), Finished(reason="stopped", step=1070, elapsed_s=90)]
    done = command("train", "pool", *budget, train=recorder(going_on)[0])
    assert done.code == 130
    assert re.search(rf"Go on with: napari-bcp train pool {left}\n", done.out)


def test_progress_that_begins_anew_is_shown_anew(command):
    """One training of a comparison after the other, in a log file."""
    twice = 2 * [
        Step(step=i, stage=1, loss=0.5, lr=1e-3, elapsed_s=i, steps_per_s=2, share=i / 100) for i in range(101)
    ]
    done = command("train", "pool", train=recorder([*twice, Finished(reason="budget", step=100, elapsed_s=9)])[0])
    assert done.err.count("step 50,") == 2


def test_the_case_with_a_class_that_was_not_found_comes_first(command):
    """It is as unsure as a map can be."""
    cases = [
        {"name": name, "status": "predicted", "quality": quality, "reason": "", "mask_version": None}
        for name, quality in (
            ("good", {"1": 0.97, "2": 0.95}),
            ("missing", {"1": 0.99, "2": None}),
            ("none", {"1": None}),
        )
    ]
    found = {"root": "pool", "counts": {"predicted": 3}, "classes": [], "runs": [], "cases": cases}
    out = command("status", "pool", status=recorder(found)[0]).out
    assert out.index("\nmissing ") < out.index("\nnone ") < out.index("\ngood ")
    assert "low, a class not found" in out
    assert "nothing found" in out


@pytest.mark.parametrize(("events", "code"), [([A_MAP, UNUSABLE], 0), ([UNUSABLE], 3), ([], 0)])
def test_left_out_scans_are_an_error_only_if_nothing_was_done(command, events, code):
    """Each is named with its reason either way."""
    segment, calls = recorder([*events, Finished(reason="done")])
    done = command("segment", "pool", "a.nii", "b.nii", "--out", "masks", "--probabilities", segment=segment)
    assert done.code == code
    assert (UNUSABLE.reason in done.err) == (UNUSABLE in events)
    [((source, images, out), options)] = calls
    assert [str(source), *map(str, images), str(out)] == ["pool", "a.nii", "b.nii", "masks"]
    assert options["probabilities"] is True
    assert options["replace"] is False


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([A_MAP], "1 case segmented{}"),
        ([A_MAP, A_MAP, UNUSABLE], "2 cases segmented, 1 left out{}"),
        ([], None),
    ],
)
def test_what_was_segmented_is_counted_in_words(command, events, text):
    """Nothing at all means that all was there."""
    ended = [*events, Finished(reason="done")]
    predicted = command("predict", "p", predict=recorder(ended)[0]).out
    segmented = command("segment", "p", "a.nii", "-o", "masks", segment=recorder(ended)[0]).out
    assert predicted.startswith(f"{text.format('') if text else 'Every map is up to date'}. Next: ")
    assert segmented == f"{text.format(' in masks') if text else 'Every mask is in masks already'}\n"


def test_masks_are_made_anew_only_if_that_is_said(command):
    """Those that are there may have been mended by hand."""
    segment, calls = recorder([Finished(reason="done")])
    assert command("segment", "pool", "a.nii", "-o", "masks", "--replace", segment=segment).code == 0
    assert calls[0][1]["replace"] is True


def pool_of(counts, unusable=(), notes=()):
    """Return what new_pool gives."""
    return nullcontext(SimpleNamespace(counts=lambda: counts, cases=lambda status: unusable, notes=notes))


BAD_CASE = SimpleNamespace(name="b", reason="b.nii is empty; export it again.")


def test_a_new_pool_says_what_it_holds(command):
    """Also what could not be used, and what to do next."""
    made = pool_of({"accepted": 4, "unlabelled": 19, "unusable": 1}, [BAD_CASE], ["c_mask.nii is the mask of no scan."])
    done = command("new", "pool", "--images", "scans", new_pool=lambda *a, **k: made)
    assert done.code == 0
    assert "24 cases (4 accepted, 19 unlabelled, 1 unusable)" in done.out
    assert "napari-bcp train pool" in done.out
    assert done.err.splitlines() == ["c_mask.nii is the mask of no scan.", f"b is left out: {BAD_CASE.reason}"]


def test_a_pool_without_any_usable_scan_is_an_error(command):
    """It exists, but nothing can be done with it."""
    made = pool_of({"unusable": 1}, [BAD_CASE])
    assert command("new", "pool", "--images", "scans", new_pool=lambda *a, **k: made).code == 3


def test_progress_is_reported_while_a_pool_is_made(command):
    """With the time left, once that can be told."""

    def new_pool(root, images, labels, classes, progress):
        progress(0, 2, "a")
        progress(1, 2, "b")
        return pool_of({"unlabelled": 2})

    first, second, result = events_of(command("new", "p", "--images", "s", "--json", new_pool=new_pool).out)
    assert (first.done, first.total, first.case, first.eta_s) == (0, 2, "a", None)
    assert (second.done, second.case, second.eta_s >= 0) == (1, "b", True)
    assert isinstance(result, Note)


STATUS = {
    "root": "/data/pool",
    "classes": [{"value": 1, "name": "liver", "colour": "#e69f00"}],
    "counts": {"unlabelled": 1, "predicted": 2, "unusable": 1},
    "runs": [{"id": "0001", "preset": "quick", "step": 800, "elapsed_s": 300.0, "status": "finished"}],
    "cases": [
        {"name": "new", "status": "unlabelled", "reason": "", "quality": None, "mask_version": None},
        {"name": "sure", "status": "predicted", "reason": "", "quality": {"1": 0.97}, "mask_version": None},
        {"name": "doubtful", "status": "predicted", "reason": "", "quality": {"1": 0.6}, "mask_version": None},
        {"name": "broken", "status": "unusable", "reason": "it is empty", "quality": {}, "mask_version": None},
    ],
}


def test_status_shows_first_what_needs_a_look(command):
    """The least certain, then what cannot be used."""
    out = command("status", "pool", status=recorder(STATUS)[0]).out
    assert [line.split()[0] for line in out.splitlines()[-4:]] == ["doubtful", "sure", "broken", "new"]
    assert "4 cases (1 unlabelled, 2 predicted, 1 unusable); classes: liver" in out
    assert re.search(r"0001 +quick +800 +5:00 +finished", out)


def test_status_as_json_is_what_the_verb_returned(command):
    """Nothing is left out or rounded."""
    assert json.loads(command("status", "pool", "--json", status=recorder(STATUS)[0]).out) == STATUS


def test_status_lists_only_the_first_of_many_cases(command):
    """And says how many there are beside them."""
    cases = [{**STATUS["cases"][0], "name": f"case-{i:03}"} for i in range(100)]
    out = command("status", "pool", status=recorder({**STATUS, "cases": cases})[0]).out
    assert "case-039" in out
    assert "case-040" not in out
    assert "and 60 more" in out


def report_of(*cases):
    """Return a report over two-voxel masks."""
    import numpy as np

    truth = np.zeros((4, 4, 4), np.uint8)
    truth[1:3, 1:3, 1:3] = 1
    rows = [row for case in cases for row in measure_case(case, truth, truth, (1.0, 1.0, 1.0))]
    return Report("mm", {1: "liver"}, rows, ["c"], {"b": "b.nii lies on another grid."}, [f"e{i}" for i in range(7)])


def test_evaluation_prints_means_and_names_what_it_could_not_measure(command, tmp_path):
    """Both files are written."""
    evaluate, calls = recorder(report_of("a"))
    files = ["--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv"]
    done = command("evaluate", "masks", "truth", "--paper", "--classes", "names.json", *files, evaluate=evaluate)
    assert done.code == 0
    assert re.search(r"liver +Dice +1\.000", done.out)
    assert "b.nii lies on another grid." in done.err
    assert "c is left out: there is no prediction" in done.err
    assert "Not measured, because no true mask has their name: e0, e1, e2, e3, e4 and 2 more.\n" in done.err
    assert calls[0][1]["paper"] is True
    assert str(calls[0][1]["classes"]) == "names.json"
    assert json.loads((tmp_path / "r.json").read_text())["refused"] == {"b": "b.nii lies on another grid."}
    assert (tmp_path / "r.csv").read_text().startswith("case,class")


def test_the_table_is_printed_even_if_a_file_cannot_be_written(command, tmp_path):
    """An evaluation may have taken hours; the other file is written, too."""
    (tmp_path / "file").touch()
    files = ["--json", tmp_path / "file" / "r.json", "--csv", tmp_path / "r.csv"]
    done = command("evaluate", "masks", "truth", *files, evaluate=recorder(report_of("a"))[0])
    assert done.code == 4
    assert re.search(r"liver +Dice +1\.000", done.out)
    assert re.search(r"r\.json could not be written \(.+\); name a file in another place\.\n$", done.err)
    assert (tmp_path / "r.csv").exists()


def test_an_evaluation_that_measured_nothing_is_an_error(command):
    """Although each file is only left out."""
    assert command("evaluate", "masks", "truth", evaluate=recorder(report_of())[0]).code == 3


def test_scans_that_did_not_move_are_told_of(command):
    """The others have moved all the same."""

    def relocate(pool, old, new, *, note):
        note("2 of the 4 scans of old are not in new.")
        return 2

    done = command("relocate", "pool", "old", "new", relocate=relocate)
    assert (done.code, done.err) == (0, "2 of the 4 scans of old are not in new.\n")
    assert "2 cases point to new now." in done.out


@pytest.mark.parametrize("words", [(), ("--replace",)])
def test_an_export_is_replaced_only_if_that_is_said(command, words):
    """The verb is told so."""
    verb, calls = recorder({"accepted": 5, "pseudo": 0})
    assert command("export", "pool", "out", *words, export=verb).code == 0
    [(_, options)] = calls
    assert options["replace"] is bool(words)


@pytest.mark.parametrize(
    ("arguments", "verb", "given", "answer", "text"),
    [
        (["accept", "pool", "a", "m.nii"], "accept", "pool a m.nii", 3, "a is accepted, version 3."),
        (["accept", "pool", "a", "--pseudo-label"], "accept", "pool a None", 1, "a is accepted, version 1."),
        (["accept-above", "pool", "0.9"], "accept_above", "pool 0.9", ["a"], "1 case accepted by the rule.\n"),
        (["reopen", "pool", "a", "b"], "reopen", "pool ['a', 'b']", None, "2 cases reopened."),
        (["reject", "pool", "a"], "reject", "pool ['a']", None, "1 case rejected."),
        (["relocate", "pool", "old", "new"], "relocate", "pool old new", 24, "24 cases point to new now."),
        (["relocate", "pool", "old", "new"], "relocate", "pool old new", 1, "1 case points to new now."),
        (["exclude", "pool", "a", "b", "a"], "exclude", "pool ['a', 'b', 'a']", None, "2 cases excluded."),
        (["include", "pool", "a"], "include", "pool ['a']", None, "1 case included."),
        (["reset", "pool", "a"], "reset", "pool ['a']", None, "1 case unlabelled."),
        (
            ["export", "pool", "out", "--layout", "nnunet", "--replace"],
            "export",
            "pool out nnunet",
            {"masks": 4, "pseudo": 20},
            "4 masks, 20 pseudo",
        ),
    ],
)
def test_short_commands_say_what_they_did(command, arguments, verb, given, answer, text):
    """In one line, having handed on what they were given."""
    called, calls = recorder(answer)
    done = command(*arguments, **{verb: called})
    assert (done.code, done.err) == (0, "")
    assert text in done.out
    [(passed, _)] = calls
    assert " ".join(str(one) for one in passed if not callable(one)) == given


def test_a_comparison_is_made_as_it_was_asked_for(command, monkeypatch):
    compared, calls = recorder([Finished(reason="done")])
    monkeypatch.setattr("napari_bcp.evidence.ablation.ablate", compared)
    monkeypatch.setattr("napari_bcp.evidence.ablation.table", lambda pool, vary: [{"variant": vary, "folders": "x"}])
    words = ["--vary", "beta", "--truth", "t", "--only", "1/2", "--only", "2/3", "--preset", "quality", "--steps", "9"]
    opened = {"open_pool": lambda root, write: nullcontext((str(root), write))}
    done = command("ablate", "pool", *words, "--seeds", "3", "--set", "lr=0.1", "--device", "cpu", **opened)
    assert done.code == 0
    assert "beta" in done.out
    [((pool, truth, vary), options)] = calls
    assert (pool, str(truth), vary) == (("pool", True), "t", "beta")
    options.pop("stop")
    assert options == {
        "only": ["1/2", "2/3"],
        "preset": "quality",
        "minutes": None,
        "steps": 9,
        "seeds": 3,
        "settings": {"lr": 0.1},
        "device": "cpu",
    }


def test_what_can_vary_is_listed_without_a_pool(command):
    done = command("ablate", "--help-variations")
    assert done.code == 0
    assert re.search(r"^beta +1/2, 2/3, 5/6", done.out, re.MULTILINE)
    assert "--vary lr=0.001,0.004" in done.out


def test_features_are_compared_of_the_runs_that_were_named(command, monkeypatch):
    compared, calls = recorder([Finished(reason="done")])
    monkeypatch.setattr("napari_bcp.evidence.features.compare_features", compared)
    opened = {"open_pool": lambda root, write: nullcontext((str(root), write))}
    assert command("features", "pool", "0001", "0002", "--device", "cpu", **opened).code == 0
    [(arguments, options)] = calls
    assert arguments == (("pool", True), ["0001", "0002"])
    assert options["device"] == "cpu"
