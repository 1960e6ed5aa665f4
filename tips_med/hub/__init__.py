"""What a model folder on the Hugging Face hub says of itself, and how it gets there and back.

Only ``transfer`` needs huggingface_hub (``tips-med[hub]``), and only for names that begin with ``hf://``.
"""
