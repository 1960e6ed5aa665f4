"""A compact model as graphs for others: ONNX, or PyTorch's ExportedProgram, with all that is needed to answer."""

from tips_med.graphs.export import write_graphs

__all__ = ["write_graphs"]
