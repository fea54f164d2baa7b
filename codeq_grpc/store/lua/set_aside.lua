#!lua flags=allow-oom
-- Gives a key of a type that is none of ours another name, so that the queue can go on without.
-- KEYS: key aside
-- ARGV: the type that it was found to be of
-- Reply: OK or CHANGED
if redis.call('TYPE', key).ok ~= ARGV[1] then return { 'CHANGED' } end
redis.call('RENAME', key, aside)
return { 'OK' }
