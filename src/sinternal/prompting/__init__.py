"""Prompts and model text: the only modules that word a prompt or read what a model wrote."""
