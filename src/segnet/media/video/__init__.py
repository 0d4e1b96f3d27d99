"""Video files, cameras and streams: open, read, show and write."""
