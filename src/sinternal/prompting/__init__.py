"""What models are told and what they say: the only places that word a prompt or read model text."""
