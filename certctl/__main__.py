"""``python -m certctl`` is the command ``certctl``."""

from certctl.cli.main import main

main()
