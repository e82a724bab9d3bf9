"""Content units of every kind, and the artifacts that they are made of: lists and reads."""
