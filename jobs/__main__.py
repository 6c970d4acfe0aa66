"""`python -m jobs` is `raysmith`."""

from jobs.cli import main

if __name__ == "__main__":
    main()
