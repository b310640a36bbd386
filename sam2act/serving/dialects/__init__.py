"""What clients speak over a websocket, one module each."""
