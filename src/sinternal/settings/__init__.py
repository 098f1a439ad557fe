"""All that a user can write: small pydantic models and the packaged YAML. Light to import; runs nothing."""
