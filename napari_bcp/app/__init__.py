"""What napari sees of napari-bcp. Nothing here loads torch, and nothing outside loads what is here."""
