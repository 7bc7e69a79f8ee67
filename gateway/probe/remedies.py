"""The setting that corrects a finding, for each of the usual hops, from their manuals."""

from collections.abc import Mapping
from typing import Final

# By the code of a finding: first the settings of the gateway, then those of the hop.
REMEDIES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "buffers": (
        ("nginx", "proxy_buffering off; (or no proxy_ignore_headers X-Accel-Buffering)"),
        ("Caddy", "flush_interval -1 in reverse_proxy, where the type is not text/event-stream"),
        (
            "Traefik",
            "no buffering middleware; responseForwarding.flushInterval: 1ms on the service",
        ),
        ("HAProxy", "option http-no-delay"),
        ("Azure", "globalConfiguration.enableResponseBuffering=false (Application Gateway)"),
        ("Cloudflare", "turn off what rewrites responses for this path, and caching"),
        ("any CDN", "no caching and no image or script optimisation for this path"),
    ),
    "compresses": (
        ("nginx", "leave text/event-stream out of gzip_types (and brotli_types)"),
        ("Caddy", "encode with a match that leaves Content-Type text/event-stream out"),
        ("Traefik", "compress: excludedContentTypes: [text/event-stream]"),
        ("HAProxy", "leave text/event-stream out of `compression type`"),
        ("CloudFront", "Compress objects automatically: No, for this path"),
    ),
    "cuts": (
        ("any hop", "no bound on how long a response may take, for this path"),
        ("Caddy", "no `write` in the `timeouts` of the server"),
        ("Traefik", "transport.respondingTimeouts.writeTimeout: 0 on the entry point"),
        ("CloudFront", "the origin's response completion timeout"),
        ("Google Cloud", "timeoutSec of the backend service, 30 by default: of the whole stream"),
    ),
    "cuts_idle": (
        ("gateway", "stream: {heartbeat: 15s} on the route: a comment in each silence"),
        ("nginx", "proxy_read_timeout 1h;"),
        ("HAProxy", "timeout server 1h and timeout client 1h"),
        ("AWS ALB", "the attribute idle_timeout.timeout_seconds, 60 by default"),
        ("CloudFront", "the origin's response timeout, 30 s by default"),
        ("Cloudflare", "the zone setting proxy_read_timeout, where the plan has it"),
        ("Azure", "the request timeout of the backend setting (Application Gateway)"),
    ),
    "http_1_0": (
        ("nginx", 'proxy_http_version 1.1; proxy_set_header Connection "";'),
        ("any hop", "speak HTTP/1.1 to the gateway"),
    ),
    "unframed": (("nginx", "chunked_transfer_encoding on; (which is its default)"),),
    "strips_query": (
        ("nginx", "no `set $args`, and no URI in proxy_pass that leaves the query out"),
        ("CloudFront", "an origin request policy that forwards all query strings"),
    ),
    "drops_last_event_id": (
        ("nginx", 'remove proxy_set_header Last-Event-ID ""; headers pass by themselves'),
        ("Caddy", "remove header_up -Last-Event-ID"),
        ("CloudFront", "an origin request policy that forwards the header Last-Event-ID"),
    ),
    "strips_request_header": (
        ("nginx", "remove the proxy_set_header that empties it"),
        ("CloudFront", "an origin request policy that forwards the header"),
    ),
    "rewrites_response_header": (
        ("nginx", "remove proxy_hide_header, expires and add_header for it"),
        ("Caddy", "remove header_down for it"),
    ),
    "untrusted_front": (
        ("gateway", "auth: {trusted_proxies: [the networks that the hops are in]}"),
    ),
    "no_client_address": (
        ("nginx", "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"),
        ("HAProxy", "option forwardfor"),
    ),
    "breaks_trace": (("any hop", "let its tracing go on with traceparent (W3C Trace Context)"),),
    "six_connections": (
        ("nginx", "listen 443 ssl; http2 on;"),
        ("Caddy", "a site address with a name: HTTPS and HTTP/2 are its default"),
        ("HAProxy", "bind :443 ssl crt FILE alpn h2,http/1.1"),
    ),
}
