"""HTTP and event streams as pure functions and parsers over bytes.

Here belongs what an RFC or the HTML standard defines: header edits, message heads, framing, events,
error answers. This room imports neither asyncio nor aiohttp, and nothing of the gateway.
"""
