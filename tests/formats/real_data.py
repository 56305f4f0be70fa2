"""Where the real trajectories lie that nobody here wrote, beside the checkout."""

from pathlib import Path

import pytest

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "trajectories"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no real trajectories lie beside this checkout")
