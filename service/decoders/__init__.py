"""Untrusted bytes to pixels, in confined processes."""
