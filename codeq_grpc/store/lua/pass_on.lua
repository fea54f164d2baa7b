#!lua flags=allow-oom
-- Takes back the wish to be woken; if it was granted meanwhile, passes the wake-up on.
-- KEYS: w
-- ARGV: server that no longer waits
-- Reply: OK
-- @include wake
if redis.call('ZREM', w, ARGV[1]) == 0 then wake(1) end
return { 'OK' }
