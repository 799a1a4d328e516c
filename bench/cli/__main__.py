"""`python -m bench.cli`, the same as `bench`."""

from bench.cli import main

main()
