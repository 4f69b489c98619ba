"""Measurements of tinycore beside its peers; nothing here is a pass or fail of a test."""
