"""The parent's side: it never waits for the child, and keeps what matters of what the child says."""

import os
import signal
import sys

import pytest
from children import until

from napari_bcp.worker.host import Worker
from napari_bcp.worker.messages import Attend, CaseInfo, Cases, Pause, Ready

A_WHILE_S = 0.3
SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


def program(text):
    return (sys.executable, "-c", text)


def test_commands_to_a_child_that_does_not_read_are_not_waited_for(start):
    child = start(*SLEEPS)
    many = Cases(changed=tuple(CaseInfo(name=f"case{i}", scan="/scans/x.nii.gz") for i in range(1000)))
    for _ in range(20):  # together they are many times what a pipe holds
        child.worker.send(many)
    child.worker.close()
    assert not child.worker.wait(0)
    assert child.worker.running
    assert (child.worker.poll(), child.worker.exit_code) == ([], None)
    os.kill(child.worker.pid, signal.SIGTERM)
    child.until_gone()
    assert not child.worker.running
    assert child.worker.exit_code == -signal.SIGTERM


def test_commands_arrive_in_order_and_the_pipe_ends_with_quit(start):
    child = start(*program("import sys; sys.stderr.write(sys.stdin.read())"))
    child.worker.send(Pause())
    child.worker.send(Attend(visible="a"))
    child.worker.close()
    child.until_gone()
    assert child.worker.log_tail.split("\n") == [
        '{"kind":"pause"}',
        '{"kind":"attend","visible":"a","proposed":[]}',
        '{"kind":"quit"}',
    ]


def test_after_a_flood_the_newest_lines_are_kept_also_those_written_last(start):
    text = 'import sys\nfor i in range(20000): sys.stderr.write(f"this is line {i:06}\\n")\nsys.exit(3)'
    child = start(*program(text))
    until(lambda: child.worker.log_tail)
    while not child.worker.wait(0):
        lines = child.worker.log_tail.split("\n")
        assert len(lines) <= 40
    assert child.worker.exit_code == 3
    assert child.worker.log_tail.split("\n") == [f"this is line {i:06}" for i in range(19960, 20000)]


class SlowToLog(Worker):
    """Looks at the log a while after the process has ended."""

    late = None

    def _keep_log(self, pipe):
        self._process.wait()
        self.late = self._ended.wait(A_WHILE_S)
        super()._keep_log(pipe)


def test_a_child_has_not_ended_before_its_last_words_are_kept():
    worker = SlowToLog(program('import sys; sys.exit("The reason why.")'))
    assert worker.wait(60)
    assert worker.late is False
    assert worker.log_tail == "The reason why."


def test_a_line_that_never_ends_is_kept_in_pieces(start):
    child = start(*program('import sys; sys.stderr.write("." * 400_000 + "\\nthe end")'))
    child.until_gone()
    lines = child.worker.log_tail.split("\n")
    assert lines[-1] == "the end"
    assert max(map(len, lines)) <= 4096
    assert len(lines) == 40


def test_a_report_that_is_none_is_passed_over_with_a_warning(start):
    text = """
import os
os.write(1, b'no report\\n{"kind": "dance"}\\n\\xff\\xfe\\n{"kind": "ready", "pid": 7, "steps": "two"}\\n{"kind": "rea')
"""
    child = start(*program(text))
    child.until_gone()
    assert child.of("ready") == child.reports == [Ready(pid=7)]
    assert child.worker.log_tail.count("A report was passed over") == 4
    assert "dance" in child.worker.log_tail


def test_reports_that_nobody_has_fetched_keep_a_dead_child_running(start):
    child = start(*program('for i in range(2500): print(f\'{{"kind": "paused", "step": {i}}}\')'))
    child.worker.wait(60)
    assert child.worker.running
    parts = [child.worker.poll() for _ in range(3)]
    assert [len(part) for part in parts] == [1000, 1000, 500]
    assert [one.step for part in parts for one in part] == list(range(2500))
    assert not child.worker.running


def test_nothing_is_left_of_a_child_that_was_killed(start):
    child = start(*SLEEPS)
    child.worker.kill()
    child.until_gone()
    assert child.worker.exit_code == -signal.SIGKILL
    for thread in child.worker._threads:
        thread.join(60)
    assert [thread.is_alive() for thread in child.worker._threads] == [False] * 3
    pipes = child.worker._process
    assert all(pipe.closed for pipe in (pipes.stdin, pipes.stdout, pipes.stderr))
    child.worker.send(Pause())  # goes nowhere


def test_a_program_that_is_not_there_is_said_at_once(start):
    with pytest.raises(OSError, match="no-such-program"):
        start("/no-such-program")
