"""What ``segnet predict`` does with pictures: finds them, labels them, writes the results."""
