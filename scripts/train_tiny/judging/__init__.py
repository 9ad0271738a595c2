"""What finished portraits are worth: two networks that only score, the people they see, and the verdicts on a group."""
