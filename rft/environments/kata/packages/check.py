"""Runs the tests: `python check.py` all of them, `python check.py NAME` those of one function."""

import signal
import sys

SHOWN = 3
WIDTH = 80


def give_up(number, frame):
    sys.__stdout__.write("ERROR timeout\n")
    sys.__stdout__.flush()
    import os

    os._exit(1)


def short(error):
    """The last words of a failure, on one line."""
    text = str(error).strip().split("\n")[0]
    if "differ: " in text:
        text = text.split("differ: ", 1)[1]
    kind = type(error).__name__
    return text if kind == "AssertionError" else f"{kind}: {text}"


def load(wanted):
    import glob
    import unittest

    suite = unittest.TestSuite()
    for path in sorted(glob.glob("test_*.py")):
        module = __import__(path[:-3])
        for name, case in sorted(vars(module).items()):
            if name.endswith("Test") and wanted in ("", name):
                suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    return suite


def run(suite):
    import unittest

    class Result(unittest.TestResult):
        said = []

        def addFailure(self, test, err):
            self.said.append(f"FAIL {test._testMethodName}: {short(err[1])}")

        addError = addFailure

        def addSubTest(self, test, subtest, err):
            if err:
                self.addFailure(test, err)

    result = Result()
    suite.run(result)
    return result.testsRun, result.said


def main(arguments):
    signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, 2)
    sys.dont_write_bytecode = True
    wanted = "".join(word.title() for word in "".join(arguments[:1]).split("_"))
    try:
        suite = load(wanted and wanted + "Test")
    except SyntaxError as error:
        file = str(error.filename).split("/")[-1]
        print(f"ERROR {type(error).__name__}: {error.msg} ({file}, line {error.lineno})"[:WIDTH])
        return 1
    except BaseException as error:
        print(f"ERROR {type(error).__name__}: {error}".split("\n")[0][:WIDTH])
        return 1
    count, failed = run(suite)
    if not count:
        print(f"ERROR no tests for {arguments[0]}"[:WIDTH] if arguments else "ERROR no tests")
        return 1
    for line in failed[:SHOWN]:
        print(line[:WIDTH])
    if len(failed) > SHOWN:
        print(f"... and {len(failed) - SHOWN} more")
    print(f"FAILED {len(failed)} of {count} tests" if failed else f"OK {count} tests")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
