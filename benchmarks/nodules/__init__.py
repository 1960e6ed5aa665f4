"""Nodules, measured as the field does: FROC curves on real and on painted scans."""
