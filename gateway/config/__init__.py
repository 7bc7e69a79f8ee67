"""What routes.yaml says: the types of a loaded configuration, the loader and the JSON Schema.

A new key of routes.yaml begins here. This room imports nothing of the gateway: what a route needs
while it serves requests is computed in `proxy/`.
"""
