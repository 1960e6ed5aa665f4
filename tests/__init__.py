"""How types are checked while tests run: an int passes for a float, as type checkers read it (PEP 484)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
