"""A worker that a hospital leaves running: studies come in by C-STORE, answers go back to the archive."""

from tips_med.serving.node.node import Node, NodeSettings
from tips_med.serving.node.rules import Rule

__all__ = ["Node", "NodeSettings", "Rule"]
