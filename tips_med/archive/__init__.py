"""Which scans have it, and where in each: an index of encoded studies, and searches of it."""
