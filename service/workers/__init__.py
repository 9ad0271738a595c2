"""How the front reaches the workers: one interface, worker processes behind it, or a thread in tests."""
