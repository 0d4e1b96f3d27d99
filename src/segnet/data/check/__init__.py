"""Checks of a whole data set in one pass: facts of every pair of files, and findings on all of them."""
