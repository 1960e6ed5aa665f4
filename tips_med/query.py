"""What is asked: free text, understood by a lexicon; every word is accounted for.

Interface sketch (see the tests for behaviour).
"""
from __future__ import annotations
