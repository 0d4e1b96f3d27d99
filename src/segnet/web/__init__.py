"""What runs in a browser or answers over HTTP: the service, and the demo page."""
