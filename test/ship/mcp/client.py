"""A client by the Model Context Protocol's own kit: lists the tools at an address, makes some calls, and writes what came of them.

`client.py URL CALLS`: CALLS is JSON, a list of `[tool, arguments]`; so is what is written. The kit checks results against their schemas.
"""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError


async def tools(session):
    listed, cursor = [], None
    while True:
        page = await session.list_tools(cursor)
        listed += [tool.model_dump(exclude_none=True) for tool in page.tools]
        cursor = page.nextCursor
        if not cursor:
            return listed


async def call(session, tool, arguments):
    try:
        result = await session.call_tool(tool, arguments)
    except McpError as error:
        return {"code": error.error.code}
    return {"error": result.isError, "object": result.structuredContent, "texts": [item.text for item in result.content]}


async def main(url, calls):
    async with streamablehttp_client(url) as (read, write, _session_id), ClientSession(read, write) as session:
        agreed = await session.initialize()
        await session.send_ping()
        answers = {"version": agreed.protocolVersion, "tools": await tools(session)}
        answers["calls"] = [await call(session, tool, arguments) for tool, arguments in calls]
        print(json.dumps(answers))


asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
