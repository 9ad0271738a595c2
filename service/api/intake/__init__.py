"""From a request to its job and to the job's end. Every surface parses its own wire format and comes through here."""
