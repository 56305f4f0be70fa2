"""A judge that takes its time and no processor: any number of requests at once. Prints its port.

python -m benchmarks.slow_judge SECONDS
"""

import asyncio
import json
import re
import sys

ASKED = re.compile(rb"\\n- ([a-z0-9_]+): ")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
    """One connection's requests: every question that stands in them is answered with yes."""
    loop = asyncio.get_running_loop()
    while head := await reader.readuntil(b"\r\n\r\n"):
        arrived = loop.time()
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
        body = await reader.readexactly(length)
        ids = [name.decode() for name in ASKED.findall(body[body.rfind(b"Questions:") :])]
        lines = [{"id": name, "reason": "it did", "steps": [1], "quote": "", "answer": "yes"} for name in ids]
        usage = {"prompt_tokens": len(body) // 4, "completion_tokens": 40 * len(ids)}
        message = {"content": json.dumps({"verdicts": lines})}
        answer = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}).encode()
        await asyncio.sleep(latency - (loop.time() - arrived))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer))
        writer.write(answer)
        await writer.drain()


async def main(latency: float) -> None:
    """Serve until ended."""

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer, latency)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, limit=1 << 22, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
