"""Configurations of `accelerate launch` that come with the package: for accelerate, as it reads them."""
