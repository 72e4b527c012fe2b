"""The linter of instructions: rules that read, and never ask a model."""
