"""The only room that knows Redis: keys, scripts, connections.

Times are Unix milliseconds of the store's clock, ids 7 raw bytes, specs and texts the bytes
that came in. One call of this room is one script call.
"""
