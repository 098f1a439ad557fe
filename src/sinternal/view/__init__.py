"""A folder of runs in the browser, while they go on: read from what they write down, and never written to."""
