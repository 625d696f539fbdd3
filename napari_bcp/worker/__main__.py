"""Run the child: python -m napari_bcp.worker."""

from napari_bcp.worker.child import main

main()
