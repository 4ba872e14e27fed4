"""Models as facts, in TOML: equations, constants and sources; read, compiled, run beside Brian2 and listed."""
