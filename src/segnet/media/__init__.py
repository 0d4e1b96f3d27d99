"""Pixels in and out: image files and videos; knows no class and no model."""
