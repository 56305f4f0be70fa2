"""A program that is started and answers as `vllm serve` does, without a model: what it says follows from its weights.

`fake_vllm.py serve MODEL --host H --port P [flags]`. Tokens are the bytes of the text.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FENCE = "```"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("serve", choices=["serve"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--lora-modules", default="")
    parser.add_argument("--logprobs-mode", choices=["processed_logprobs"], required=True)
    parser.add_argument("--generation-config", choices=["vllm"], required=True, help="no sampling of the model's own")
    parser.add_argument("--record", type=Path, help="a line for each request")
    parser.add_argument("--crash", help="say this and end before anything is answered")
    parser.add_argument("--sick", action="store_true", help="never be healthy")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before an answer")
    parser.add_argument(
        "--stuck", type=Path, help="a file; the process that it names answers no question, and is healthy"
    )
    parser.add_argument(
        "--crowded", action="store_true", help="works for others and leaves questions of a token waiting"
    )
    parser.add_argument("--poison", help="what holds this word is answered by HTTP 500")
    parser.add_argument("--child", action="store_true", help="start a process beside, as vLLM starts its engine")
    parser.add_argument("--turns", type=int, default=1, help="commands before the submission")
    return parser.parse_known_args()[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._say(503 if self.server.options.sick else 200, {})
        elif self.path == "/metrics" and self.server.options.crowded:
            count = f'vllm:generation_tokens_total{{engine="0",model_name="policy"}} {time.monotonic()}'
            self._send(200, f"# HELP vllm:generation_tokens_total Of all requests.\n{count}\n".encode())
        else:
            self._say(200, {"data": [{"id": self.server.options.served_model_name}]})

    def do_POST(self) -> None:
        options = self.server.options
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Bearer {os.environ['VLLM_API_KEY']}":
            return self._say(401, {"error": "Unauthorized"})
        if options.stuck and options.stuck.exists() and options.stuck.read_text() == str(os.getpid()):
            time.sleep(600)
        if self.path == "/v1/completions":
            time.sleep(600 if options.crowded else 0)
            return self._say(200, {"choices": [{"text": "."}]})
        if options.record:
            line = {"port": options.port, "first": body["messages"][-1]["content"][:40], "seed": body["seed"]}
            line |= {
                "start": body["messages"][0]["content"],
                "turn": len(body["messages"]),
                "weights": self.server.weights,
            }
            with options.record.open("a") as file:
                file.write(json.dumps(line) + "\n")
        time.sleep(options.delay)
        if options.poison and options.poison in f"{body['messages'][-1]['content']}":
            return self._say(500, {"error": "Internal Server Error"})
        done = sum(message["role"] == "assistant" for message in body["messages"])
        command = "submit" if done >= options.turns else f"echo {self.server.weights}"
        text = f"{FENCE}bash\n{command}\n{FENCE}"
        ids = list(text.encode())
        content = [{"token": chr(token), "logprob": -0.5, "bytes": None, "top_logprobs": []} for token in ids]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": {"content": content},
            "finish_reason": "stop",
            "token_ids": ids,
        }
        prompt = [byte for message in body["messages"] for byte in f"{message['content']}".encode()]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
        return self._say(200, {"choices": [choice], "usage": usage, "prompt_token_ids": prompt})

    def _say(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__((options.host, options.port), Handler)
        self.options = options
        self.weights = hashlib.sha256((options.model / "model.safetensors").read_bytes()).hexdigest()[:8]


if __name__ == "__main__":
    given = arguments()
    print(f"pid {os.getpid()} gpus '{os.environ.get('CUDA_VISIBLE_DEVICES')}'", flush=True)
    if given.child:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if given.crash:
        sys.exit(f"RuntimeError: {given.crash}")
    Server(given).serve_forever(0.05)
