"""Position fixes: what a terminal has heard and knows -> where it is; pick one file in here by name."""
