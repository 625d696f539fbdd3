"""Training beside the window: the messages, the child process, and the parent's side of it.

The parent imports `messages` and `host` only, which load no torch.
"""
