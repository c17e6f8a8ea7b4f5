"""Let `python -m aisles` do what `aisles` does."""

from aisles.cli.main import main

if __name__ == "__main__":
    main()
