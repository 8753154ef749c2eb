"""The spec language: YAML to frozen values, with the line of everything."""
