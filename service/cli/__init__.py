"""The command line's parts; `service/__main__.py` puts them together."""
