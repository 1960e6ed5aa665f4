"""Output of answers: NIfTI volumes, a figure, a table and a report."""
