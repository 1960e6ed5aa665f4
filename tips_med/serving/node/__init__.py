"""A worker that a hospital leaves running: studies come in, answers go to the archive."""

from tips_med.serving.node.heartbeat import Heartbeat
from tips_med.serving.node.node import Node, NodeSettings
from tips_med.serving.node.poller import PollSettings
from tips_med.serving.node.rules import Rule

__all__ = ["Heartbeat", "Node", "NodeSettings", "PollSettings", "Rule"]
