"""A page for people, run by Gradio on this machine: images, a camera and videos."""
