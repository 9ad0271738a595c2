"""What pictures show: people, hair, garments, light and places, drawn from named factors, and kept as shards."""
