"""Inspect's logs (https://inspect.aisi.org.uk): read to be compared, and written from our runs."""
