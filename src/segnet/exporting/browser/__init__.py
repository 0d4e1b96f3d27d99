"""Export of a page that runs a model in the browser of its visitor."""
