"""A model as a MONAI bundle: https://docs.monai.io/en/stable/mb_specification.html.

``export`` writes the folder; ``inference`` and ``training`` are what its configurations are made of, beside MONAI's own
parts and ``tips_med.transforms``.
"""
