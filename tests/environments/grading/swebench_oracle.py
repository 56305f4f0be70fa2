"""Run by an interpreter that has swebench: for each line `{parser, log, exit_code, fail_to_pass, pass_to_pass}` of its
input the line `{tests, resolved}`, as swebench's own parser and grader have it."""

import json
import sys
import tempfile
from types import SimpleNamespace

from swebench.harness import constants, grading
from swebench.harness.log_parsers import PARSER_REGISTRY

for line in sys.stdin:
    case = json.loads(line)
    spec = SimpleNamespace(log_parser=case["parser"])
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(f"{constants.START_TEST_OUTPUT}\n{case['log']}\n{constants.END_TEST_OUTPUT}\n")
        file.write(f"{constants.TEST_EXIT_CODE}: {case['exit_code']}\n")
        file.flush()
        counted, _ = grading.get_logs_eval(spec, file.name)
    gold = {constants.FAIL_TO_PASS: case["fail_to_pass"], constants.PASS_TO_PASS: case["pass_to_pass"]}
    report = grading.get_eval_tests_report(counted, gold)
    status = grading.get_resolution_status(report)
    tests = PARSER_REGISTRY[case["parser"]](case["log"], spec)
    print(json.dumps({"tests": tests, "resolved": status == constants.ResolvedStatus.FULL.value}), flush=True)
