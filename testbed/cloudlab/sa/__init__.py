"""The slice authority."""
