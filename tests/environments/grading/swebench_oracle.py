"""Run by an interpreter that has swebench: reads `[parser, log]` pairs as JSON, writes its parsers' maps as JSON."""

import json
import sys

from swebench.harness.log_parsers import PARSER_REGISTRY

pairs = json.load(sys.stdin)
json.dump([PARSER_REGISTRY[name](log, None) for name, log in pairs], sys.stdout)
