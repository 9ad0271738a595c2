"""What crosses the boundary between the front and a worker."""
