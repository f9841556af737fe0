"""A component manager: its machines, and a file for each kind of its methods."""
