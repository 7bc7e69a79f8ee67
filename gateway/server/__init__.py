"""Connections from clients: listeners, HTTP/1 requests, limits of heads, writing to the socket.

Here belongs what holds for every client connection. This room knows no route, no token and no
upstream.
"""
