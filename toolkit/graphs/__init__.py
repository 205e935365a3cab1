"""Networks on a whole graph, and attacks on its edges and features."""
