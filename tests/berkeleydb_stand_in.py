"""Where bsddb3 cannot be built: what tests import of it is berkeleydb's.

In an environment without bsddb3: ``python -m pytest -p berkeleydb_stand_in tests/test_store.py``.
"""

from __future__ import annotations

import sys

from greylist.store.berkeley.environment import db

sys.modules["bsddb3"] = sys.modules[db.__name__.partition(".")[0]] = __import__("berkeleydb")
