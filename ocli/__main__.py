"""``python -m ocli``."""

from ocli.cli import main

if __name__ == "__main__":
    main()
