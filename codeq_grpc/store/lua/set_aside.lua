#!lua flags=allow-oom
-- Gives a key of a type that is none of ours another name, so that the queue can go on without.
-- KEYS: key aside
-- ARGV: the type that it was found to be of
-- Reply: OK; CHANGED if it is of another type by now; TAKEN if one is aside already
if redis.call('TYPE', key).ok ~= ARGV[1] then return { 'CHANGED' } end
if redis.call('RENAMENX', key, aside) == 0 then return { 'TAKEN' } end
return { 'OK' }
