"""``python -m segnet`` is ``segnet``."""

from segnet.cli import main

if __name__ == "__main__":
    main()
