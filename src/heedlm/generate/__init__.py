"""Messages in, replies out: batched decoding on this machine, or the same through an endpoint."""
