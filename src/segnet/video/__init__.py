"""Video in, video out: files, cameras and streams, steady pictures, and how unsteady they are."""
