"""Tests that hold the house: floors, budgets, docstrings, op places, names."""
