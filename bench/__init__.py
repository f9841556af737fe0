"""Measurements, side by side with other systems; not part of the product."""
