"""More machines and fewer."""
