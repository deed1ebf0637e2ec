"""Makes the ``benchmarks`` package of the repository importable; it is not installed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
