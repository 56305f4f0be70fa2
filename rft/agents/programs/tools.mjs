// A whole agent in Node: one shell tool in OpenAI's dialect, done when the policy calls nothing more.
// agent: {use: external, files: [tools.mjs], command: 'node "$RFT_FILES/tools.mjs"'}
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

const bash = {
  type: "function",
  function: {
    name: "bash",
    description: "Run a command in a fresh bash in the repository; you are shown its exit code and its output.",
    parameters: { type: "object", properties: { command: { type: "string" } }, required: ["command"] },
  },
};
const messages = [
  { role: "system", content: "You repair a bug in the git repository of your working directory. Reply without a call when it is done." },
  { role: "user", content: readFileSync(process.env.RFT_STATEMENT_FILE, "utf8") },
];

for (;;) {
  const response = await fetch(`${process.env.OPENAI_BASE_URL}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${process.env.OPENAI_API_KEY}` },
    body: JSON.stringify({ model: "policy", messages, tools: [bash] }),
  });
  const answer = await response.json();
  if (!response.ok) {
    console.error(answer.error.message);
    process.exit(1);
  }
  const reply = answer.choices[0].message;
  messages.push(reply);
  if (!reply.tool_calls?.length) break;
  for (const call of reply.tool_calls) {
    messages.push({ role: "tool", tool_call_id: call.id, content: run(call.function) });
  }
}

function run({ name, arguments: given }) {
  let command;
  try {
    command = JSON.parse(given).command;
  } catch {
    return "the arguments are no JSON";
  }
  if (name !== "bash" || typeof command !== "string") return "the only tool is bash, and it takes a command";
  const done = spawnSync("bash", ["-c", command], { encoding: "utf8", timeout: 60_000, maxBuffer: 1 << 20 });
  return `[exit ${done.status}]\n${done.stdout}${done.stderr}`.slice(0, 8000);
}
