"""A training that does nothing."""

from napari_bcp.app.training import TrainingState


class QuietTrainer:
    """Stands for the training process: notes what it is told, and reports what a test hands it."""

    def __init__(self, heard):
        self.state, self.heard = TrainingState(), heard
        self.busy, self.pid, self.sent, self.closed = False, None, [], False

    def __getattr__(self, name):
        return lambda *arguments, **named: self.sent.append((name, *arguments, *named.values()))

    def train(self, job, run):
        self.busy = True
        self.state = TrainingState(phase="training", run=run.id, preset=run.preset, settings=job.config, step=run.step)
        self.sent.append(("train", job))

    def pump(self):
        return False

    def close(self, seconds=0):
        self.busy, self.closed = False, True

    def told(self, name):
        """Return what one of its methods was called with, call by call."""
        return [arguments for called, *arguments in self.sent if called == name]
