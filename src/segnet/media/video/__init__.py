"""Video in, video out: files, cameras and streams, steady images, and how unsteady they are."""
