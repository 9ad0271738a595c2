"""Replicate's predictions API and Cog's over our jobs, as the `replicate` client speaks it (1.0.7)."""
