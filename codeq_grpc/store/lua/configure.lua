#!lua flags=allow-oom
-- Stores the settings of a queue, if they are still those that were read. Allowed when memory is
-- short: a paused queue must be resumed to be drained.
-- KEYS: s w
-- ARGV: version that was read, settings for scripts, settings for people, label of the
--   payload schema in them or ''
-- Reply: OK or CHANGED
-- @include wake
if (redis.call('HGET', s, 'version') or '0') ~= ARGV[1] then return { 'CHANGED' } end
redis.call('HSET', s, 'version', ARGV[1] + 1, 'cfg', ARGV[2], 'settings', ARGV[3],
  'schema', ARGV[4], 'unpark', '')
-- More may be claimed than before. Servers that wait are few.
wake(1000)
return { 'OK' }
