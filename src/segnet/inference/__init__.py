"""From an image to its prediction."""
