"""The computer: devices, hardware facts, memory, threads, files."""
