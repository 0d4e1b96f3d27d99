"""INT8: ranges from images, a graph that computes in eight bits, and the gate that holds it to its scores."""
