"""The primitives for the tasks of one event loop. Their public names are in `holdfast`."""
