"""`make bench-gateway`: the gateway beside other routers, on the same machine in one run."""
