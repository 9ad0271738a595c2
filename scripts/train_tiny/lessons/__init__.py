"""What is learnt from the drawings: a network and its training for each stage, what they share, and the export."""
