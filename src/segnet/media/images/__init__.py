"""Image files: find, decode, read, write, in one piece or in strips."""
