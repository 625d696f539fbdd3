"""What is told of how far long work is."""

from napari_bcp.app.telling import Telling


def test_how_long_a_task_still_takes_follows_from_what_it_took_so_far():
    now = [100.0]
    telling = Telling(lambda: now[0])
    telling.show_progress("reading scans", 0, 40)
    assert telling.progress.eta_s is None
    now[0] += 0.5
    telling.show_progress("reading scans", 1, 40)
    assert telling.progress.eta_s is None, "too early to tell"
    now[0] += 5.5
    telling.show_progress("reading scans", 10, 40)
    assert telling.progress.eta_s == 18.0
    telling.show_progress("reading scans", 40, 40)
    assert telling.progress.eta_s is None


def test_each_task_counts_from_its_own_start_and_what_is_known_better_holds():
    now = [0.0]
    telling = Telling(lambda: now[0])
    telling.show_progress("reading scans", 5, 10)
    now[0] = 60.0
    telling.show_progress("exporting", 1, 10)
    assert telling.progress.eta_s is None
    telling.show_progress("exporting", 1, 10, eta_s=7.0)
    assert telling.progress.eta_s == 7.0
    telling.end_progress("exporting")
    now[0] = 100.0
    telling.show_progress("exporting", 2, 10)
    assert telling.progress.eta_s is None, "the same task anew"


def test_of_several_tasks_the_newest_is_told_and_each_ends_by_itself():
    now = [0.0]
    telling = Telling(lambda: now[0])
    told = []
    telling.progress_changed.connect(lambda progress: told.append(progress and (progress.task, progress.eta_s)))
    telling.show_progress("making maps", 0, 10)
    telling.show_progress("exporting", 0, 10)
    now[0] = 10.0
    telling.show_progress("making maps", 5, 10)
    telling.show_progress("exporting", 2, 10)
    telling.end_progress("exporting")
    telling.end_progress("nothing of that name")
    telling.end_progress("making maps")
    assert told[2:] == [("making maps", 10.0), ("exporting", 40.0), ("making maps", 10.0), None]


def test_what_fails_ends_its_own_task_alone():
    telling = Telling()
    telling.show_progress("exporting")
    telling.show_progress("making maps")
    telling.failed("train")(RuntimeError("no"))
    assert telling.progress.task == "making maps"
    telling.failed("cases", task="exporting")(RuntimeError("no"))
    telling.end_progress("making maps")
    assert telling.progress is None
