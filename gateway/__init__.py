"""An API gateway and reverse proxy made for streaming upstreams."""
