"""Other people's tools that find this package, or are found by it."""
