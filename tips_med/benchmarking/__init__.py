"""What this machine gives: seconds and memory of each stage from a file to an answer, and how they grow.

Everything is measured in processes of their own, so that nothing is warm but the file cache. Nothing here names the
machine, its user or a folder: what it prints may be pasted into a public thread.
"""

from tips_med.benchmarking.curves import CURVES, CurveSizes
from tips_med.benchmarking.files import check_report_folder, write_report
from tips_med.benchmarking.report import Benchmark, Stage
from tips_med.benchmarking.run import run_benchmark

__all__ = ["CURVES", "Benchmark", "CurveSizes", "Stage", "check_report_folder", "run_benchmark", "write_report"]
