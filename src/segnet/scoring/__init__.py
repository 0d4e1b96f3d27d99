"""Masks of any program against the truth: pairing, scores, and a page of the worst images."""
