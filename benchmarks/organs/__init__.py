"""Outlines of organs on public scans, drawn where there are none."""
