"""Label maps of any program against the truth: which belong together, how good they are, a page of the worst."""
