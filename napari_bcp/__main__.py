"""`python -m napari_bcp` is the command `napari-bcp`."""

from napari_bcp.cli.main import main

main()
