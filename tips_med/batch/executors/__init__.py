"""Where the workers of a batch run: each kind of place is one ``Executor`` in a file of its own."""
