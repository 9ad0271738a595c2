"""A job's life: a place in the queue, events, exactly one end."""
