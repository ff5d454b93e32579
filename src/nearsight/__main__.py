"""``python -m nearsight`` is the command ``nearsight``."""

from nearsight.cli import main

main()
