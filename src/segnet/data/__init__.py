"""Images, masks and data sets. Data knows nothing of models."""
