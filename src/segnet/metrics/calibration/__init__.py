"""Whether a model knows when it is wrong: calibration of its probabilities, and uncertainty against error."""
