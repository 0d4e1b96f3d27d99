"""Inference: from images to predictions, and their scores."""
