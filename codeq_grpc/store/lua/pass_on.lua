#!lua flags=allow-oom
-- Passes a wake-up on to a server that still waits, from one that no longer does.
-- KEYS: w
-- ARGV: server that no longer waits
-- Reply: OK
-- @include wake
redis.call('ZREM', KEYS[1], ARGV[1])
wake(KEYS[1], 1)
return { 'OK' }
