"""Clustering algorithms: one file each, `cluster(view, previous, params) -> Clusters`; pick one by name."""
