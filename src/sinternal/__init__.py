"""Train a reasoning model only to verify its own answers, and measure what that does to its safety."""
