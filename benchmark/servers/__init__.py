"""Load on real servers: closed and open loops, single requests beside bulk jobs, the gateway's cost."""
