"""What people look at: overlays, legends, colors, HTML parts."""
