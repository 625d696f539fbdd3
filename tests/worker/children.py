"""Children for the tests, with what they have reported, and the wait for what they shall report."""

import time
from dataclasses import dataclass, field

from napari_bcp.worker.host import Worker
from napari_bcp.worker.messages import Ready

QUICK = {"width": 4, "patch": (16, 16, 16), "batch": 2, "threads": 1, "precision": "float32", "stage1_steps": 0}
"""Settings with which a step takes a blink, whatever it learns."""

ENDLESS = 1_000_000  # steps
PATIENCE_S = 120


def until(condition, seconds=PATIENCE_S, log=lambda: ""):
    """Look again and again until `condition` holds, and return what it says; tell the log if it never does."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Nothing came of it in {seconds} s. The log:\n{log()}")
        time.sleep(0.005)
    return found


@dataclass
class Child:
    """A worker, and what it has reported since the last job was sent that was not sent behind another."""

    worker: Worker = field(default_factory=Worker)
    reports: list = field(default_factory=list)
    jobs: int = 0
    ready: Ready | None = None

    def send(self, *commands):
        for command in commands:
            if command.kind in ("train", "predict"):
                if not self.jobs:
                    self.look()
                    self.reports.clear()
                self.jobs += 1
            self.worker.send(command)

    def look(self):
        new = self.worker.poll()
        self.ready = next((one for one in new if one.kind == "ready"), self.ready)
        self.jobs -= sum(one.kind == "ended" for one in new)
        self.reports += new

    def of(self, *kinds):
        self.look()
        return [one for one in self.reports if one.kind in kinds]

    def until(self, condition):
        """Wait for `condition`, and give up early when the child is no more."""

        def met():
            running = self.worker.running
            self.look()
            found = condition()
            assert found or running, f"The child has ended ({self.worker.exit_code}):\n{self.worker.log_tail}"
            return found

        return until(met, log=lambda: f"{self.worker.log_tail}\n{self.reports[-5:]}")

    def until_told(self, kind, **fields):
        """Wait for a report of such a kind with such fields, and return it."""

        def wanted(one):
            return one.kind == kind and all(getattr(one, key) == value for key, value in fields.items())

        return self.until(lambda: next(filter(wanted, self.reports), None))

    def until_step(self, number):
        """Wait until so many steps are done."""
        return self.until(lambda: next((one for one in self.of("step") if one.step >= number), None))

    def until_free(self):
        self.until(lambda: not self.jobs)

    def until_gone(self):
        until(lambda: self.worker.wait(0), log=lambda: self.worker.log_tail)
        self.look()
