"""`python -m solon.cli`, the same as `solon`."""

from solon.cli.start import main

if __name__ == "__main__":
    main()
