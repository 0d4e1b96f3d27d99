"""What ``segnet predict`` does with images: predicts their masks and writes the results."""
