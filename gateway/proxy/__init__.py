"""One exchange, from the request to the last byte of the response.

`handler` shows the steps; each step is one call into a lower room or a file beside it. aiohttp
handlers do not belong here, they are in `endpoints/`.
"""
