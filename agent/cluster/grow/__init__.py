"""Which machines the queue wants."""
