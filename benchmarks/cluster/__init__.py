"""The Lock across processes: holdfast on the embedded engine, filelock's AsyncFileLock, and flock() in a thread."""
