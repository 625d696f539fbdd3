"""Plan, preprocessing, sampling, training, checkpoints, prediction: the only place that trains."""

import os

# Threads that wait for each other by spinning take the processor from whatever else runs, and then wait the longer:
# with one busy core of two, a step took four times as long as with threads that sleep. Read once, when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
