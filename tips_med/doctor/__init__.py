"""What this installation is made of, whether it works, and one line of advice for whatever is not as it should be.

Nothing here names the machine, its user or a folder: what it prints may be pasted into a public thread.
"""

from tips_med.doctor.all_checks import examine
from tips_med.doctor.examination import Check, Examination

__all__ = ["Check", "Examination", "examine"]
