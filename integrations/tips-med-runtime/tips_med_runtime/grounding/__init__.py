"""What of the region a scan shows, what is there, and what decides."""
