"""How well boundaries are drawn: outlines of one mask, their counts in one image, scores of a data set."""
