"""A client by the Model Context Protocol's own kit that stays connected to an address, and does what its input says.

`client.py URL MODE`: MODE is the kit's, `legacy` of versions that begin with `initialize`, `auto` of the newest. Each line of the input
is JSON, a word and what it takes; so is the line that is written when it is done. The input's end is the client's. The kit checks
messages by its own types, and results by the schemas that tools have.
"""

import functools
import json
import sys

import anyio
from mcp import Client, types
from mcp.shared.exceptions import MCPError

LIST_CHANGED = types.ToolListChangedNotification


def shown(item):
    return item.text if item.type == "text" else item.resource.model_dump(mode="json", exclude_none=True)


class Session:
    """A client and what it goes on with meanwhile."""

    def __init__(self, client, group):
        self.client, self.group = client, group
        self.changes, self.changed = 0, anyio.Event()
        self.progress, self.progressed = [], anyio.Event()
        self.scope, self.stopped = None, None
        self.made, self.failed, self.keeping = 0, [], None

    async def version(self):
        return self.client.protocol_version

    async def tools(self):
        listed, cursor = [], None
        while True:
            page = await self.client.list_tools(cursor=cursor)
            listed += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                return listed

    async def call(self, tool, arguments):
        try:
            result = await self.client.call_tool(tool, arguments)
        except MCPError as error:
            return {"code": error.code}
        content = [shown(item) for item in result.content]
        return {"error": bool(result.is_error), "object": result.structured_content, "content": content}

    async def start(self, tool, arguments, progress):
        """Begins a call that goes on."""
        self.progress, self.scope, self.stopped = [], anyio.CancelScope(), anyio.Event()

        async def told(progress, total, message):
            self.progress.append([progress, message])
            self.progressed.set()

        async def run():
            with self.scope:
                await self.client.call_tool(tool, arguments, progress_callback=told if progress else None)
            self.stopped.set()

        self.group.start_soon(run)
        return "started"

    async def stop(self, least):
        """Cancels it when it has told of its progress so many times."""
        while len(self.progress) < least:
            self.progressed = anyio.Event()
            await self.progressed.wait()
        self.scope.cancel()
        await self.stopped.wait()
        return self.progress

    def note(self):
        self.changes += 1
        self.changed.set()

    async def changed_by(self, least):
        """How often the client was told that tools have changed, as soon as that is so many times; and what there is by then."""
        while self.changes < least:
            self.changed = anyio.Event()
            await self.changed.wait()
        return [self.changes, [tool["name"] for tool in await self.tools()]]

    async def keep(self, tool, arguments, result):
        """Begins to call a tool again and again."""
        self.keeping = anyio.Event()

        async def run():
            while not self.keeping.is_set():
                answer = await self.call(tool, arguments)
                self.made += 1
                if answer != result:
                    self.failed.append(answer)

        self.group.start_soon(run)
        return "kept"

    async def kept(self):
        self.keeping.set()
        return [self.made, self.failed]


async def serve(session):
    while line := await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        word, *arguments = json.loads(line)
        print(json.dumps(await getattr(session, word)(*arguments)), flush=True)


async def main(url, mode):
    session = None

    async def handle(message):
        if isinstance(message, LIST_CHANGED) and mode == "legacy":
            session.note()

    async def follow(listening):
        async for _event in listening:
            session.note()

    async with anyio.create_task_group() as group:
        client = Client(url, mode=mode, message_handler=handle)
        session = Session(client, group)
        async with client:
            if mode == "legacy":
                await serve(session)
            else:
                async with client.listen(tools_list_changed=True) as listening:
                    group.start_soon(follow, listening)
                    await serve(session)
            group.cancel_scope.cancel()


anyio.run(functools.partial(main, *sys.argv[1:]))
