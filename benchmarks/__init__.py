"""samviz against its peers: every pair timed in turn in one process, both sides checked. `make bench` runs it."""
