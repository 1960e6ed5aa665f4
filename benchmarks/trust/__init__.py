"""Whether an answer claims more than a scan showed: see ``python -m benchmarks.trust``."""
