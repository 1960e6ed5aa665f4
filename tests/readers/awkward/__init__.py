"""Awkward series with a known truth in the patient, made anew for every test."""
