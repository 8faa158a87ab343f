"""A policy as a picture: its stages, its classes, and who serves them."""
