"""What ``segnet predict`` does with images: finds them, labels them, writes the results."""
