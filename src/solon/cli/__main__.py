"""`python -m solon.cli`, the same as `solon`."""

from solon.cli.main import main

if __name__ == "__main__":
    main()
