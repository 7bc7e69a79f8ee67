"""One exchange, from the request to the last byte of the response.

`handler` shows the steps; each step is one call into a lower room or a file beside it. What the
gateway answers itself does not belong here, it is in `endpoints/`.
"""
