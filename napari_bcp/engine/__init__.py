"""Plan, preprocessing, sampling, training, checkpoints, prediction: the only place that trains."""
