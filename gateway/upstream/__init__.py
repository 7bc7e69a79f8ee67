"""The side of the upstreams: names, connections, pools, load balancing and health.

Here belongs what the gateway knows about an upstream. Which route leads to it is decided in
`proxy/`.
"""
