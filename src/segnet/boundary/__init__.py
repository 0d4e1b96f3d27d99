"""How well boundaries are drawn: outlines of one mask, their counts in one picture, scores of a data set."""
