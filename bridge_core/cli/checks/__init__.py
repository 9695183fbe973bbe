"""What `matrix-bridge check` looks at, one module per thing."""
