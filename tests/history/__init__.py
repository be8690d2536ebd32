"""Faults that others shipped, found again by the explorer."""
