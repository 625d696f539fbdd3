"""Every loss by its name."""
