"""Independent encrypted clients: matrix-nio (in `bridge_core.demo.peers`), and matrix-js-sdk with the Rust crypto."""
