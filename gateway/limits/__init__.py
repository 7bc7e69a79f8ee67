"""Decides whether an exchange may begin: concurrency and rate limits of the routes.

Here belong the limits and the stores that count them. The number of connections is limited in
`server/`.
"""
