"""Reference models of the primitives, and state machines that drive model and implementation side by side."""
