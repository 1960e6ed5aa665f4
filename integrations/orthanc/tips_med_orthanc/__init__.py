"""Asks ``tips-med serve`` about the CT series of an Orthanc, and stores what it answers. Research use only."""
