"""Which machines go back."""
