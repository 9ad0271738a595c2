"""Recorded tensors of the references, and what holds this implementation against them."""

from pathlib import Path

RECORDS = Path(__file__).parent / "records"
