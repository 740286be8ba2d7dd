"""``python -m service`` is ``yarrr``."""

from service.cli import main

if __name__ == "__main__":
    main()
