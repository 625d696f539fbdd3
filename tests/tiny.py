"""Settings with which a step of training takes a blink, whatever it learns."""

QUICK = {"width": 4, "patch": (16, 16, 16), "batch": 2, "threads": 1, "precision": "float32", "stage1_steps": 0}
