"""A whole agent in Python's standard library: Anthropic's dialect, commands in blocks of shell, done at `submit`.

agent: {use: external, files: [plain.py], command: 'python "$RFT_FILES/plain.py"'}
"""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

SYSTEM = (
    "You repair a bug in the git repository of your working directory. Each reply holds one command in a ```bash "
    "block; you are shown what it prints. The command `submit` ends your work."
)


def ask(messages: list[dict[str, str]]) -> str:
    """The policy's next reply."""
    body = {"model": "policy", "max_tokens": 1024, "system": SYSTEM, "messages": messages}
    headers = {"content-type": "application/json", "x-api-key": os.environ["ANTHROPIC_API_KEY"]}
    request = urllib.request.Request(
        f"{os.environ['ANTHROPIC_BASE_URL']}/v1/messages", json.dumps(body).encode(), headers
    )
    try:
        with urllib.request.urlopen(request) as response:
            blocks = json.load(response)["content"]
    except urllib.error.HTTPError as error:
        sys.exit(json.load(error)["error"]["message"])
    return "".join(block["text"] for block in blocks if block["type"] == "text")


def main() -> None:
    """Ask, run, show, until the policy submits."""
    messages = [{"role": "user", "content": Path(os.environ["RFT_STATEMENT_FILE"]).read_text(encoding="utf-8")}]
    while True:
        reply = ask(messages)
        found = re.findall(r"```bash\n(.*?)\n```", reply, re.DOTALL)
        if found and found[0].strip() == "submit":
            return
        shown = "expected one ```bash block"
        if len(found) == 1:
            done = subprocess.run(["bash", "-c", found[0]], capture_output=True, text=True, check=False)
            shown = f"[exit {done.returncode}]\n{done.stdout}{done.stderr}"[:8000]
        messages += [{"role": "assistant", "content": reply}, {"role": "user", "content": shown}]


if __name__ == "__main__":
    main()
