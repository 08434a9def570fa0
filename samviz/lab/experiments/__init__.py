"""The notebooks' experiments: each a panel, and the runs that it shows."""
