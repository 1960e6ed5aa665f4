"""What a person gets out of an answer: NIfTI volumes, a figure, a table and a report."""
