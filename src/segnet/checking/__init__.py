"""What a check shows beyond the files: the page with images, and a model's opinion of the labels."""
