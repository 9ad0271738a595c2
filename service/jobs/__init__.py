"""A job's life: a place in the house, events, exactly one end."""
