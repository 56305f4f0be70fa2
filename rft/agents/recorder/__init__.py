"""The recorder: a server that looks like a model to any agent program, asks the policy, and records every call.

It speaks OpenAI chat completions and Anthropic messages, tools and streaming included. `server.py` is the HTTP side,
`chat_completions.py` and `anthropic.py` are the two dialects, `line.py` makes steps and tokens of an attempt's calls.
"""

from rft.agents.recorder.line import Line as Line
from rft.agents.recorder.server import Recorder as Recorder
