"""Chip descriptions: YAML files with a source for every figure, read into a frozen ``ChipSpec``."""
