"""Seven ways to tie images to words, each an objective on the same towers: see docs/alignment.md."""
