"""Ask a CT scan in words, in napari. Research use only, not a medical device."""

__version__ = "0.1.0"
