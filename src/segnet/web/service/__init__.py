"""The HTTP service of ``segnet serve``: images in, masks, overlays and class shares out."""
