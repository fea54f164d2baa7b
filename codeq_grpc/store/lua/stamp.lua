#!lua flags=allow-oom
-- Writes something: who then waits for this to be on the disc has waited for all that came before
-- it, by whatever connection. Allowed when memory is short: what drains is to be durable, too.
-- KEYS: stamp
-- ARGV: none
-- Reply: OK
redis.call('SET', stamp, '1')
return { 'OK' }
