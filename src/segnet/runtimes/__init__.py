"""What labels an image batch: one protocol, and one file for each library that runs a model."""
