"""reward_models stands alone: it imports neither rft nor anything heavy."""

import subprocess
import sys

PROBE = """
import importlib, pkgutil, sys
import reward_models
for module in pkgutil.walk_packages(reward_models.__path__, "reward_models."):
    if module.name != "reward_models.judges.shared_prefix":  # it holds a model
        importlib.import_module(module.name)
print(sorted({"rft", "ray", "torch", "trl", "transformers", "numpy", "omegaconf"} & set(sys.modules)))
"""


def test_it_imports_nothing_of_rft_and_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_the_nouns_cost_no_parsers() -> None:
    probe = "import sys, reward_models.types; print('yaml' in sys.modules or 'httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
