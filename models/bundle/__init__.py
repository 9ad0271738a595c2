"""From verified files to warm modules."""
