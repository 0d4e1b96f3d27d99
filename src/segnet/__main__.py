"""``python -m segnet`` is ``segnet``."""

from segnet.cli.main import main

if __name__ == "__main__":
    main()
