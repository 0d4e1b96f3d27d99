"""``segnet predict --engine ray``: many images in many processes, on one machine or on a cluster."""
