"""The four panels of the dock, a file each; they show the session, pass on what is asked, and never call each other."""
