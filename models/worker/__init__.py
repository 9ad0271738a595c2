"""One process per device: messages in, events out."""
