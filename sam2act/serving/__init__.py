"""Acting over a network: any policy behind HTTP and websockets, with a memory per session."""
