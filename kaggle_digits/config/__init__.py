"""What a person can set: sections, YAML files, overrides, and more members for a finished run."""
