"""Bytes of the IRC protocol to values and back, without input or output. The modules are imported one by one."""
