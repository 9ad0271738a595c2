"""Trains the embedded tiny bundle from nothing but its own renders. Run `python -m scripts.train_tiny --help`."""
