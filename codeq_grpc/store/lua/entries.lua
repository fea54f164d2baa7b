#!lua flags=no-writes
-- Reads a piece of a list of pending tasks, from its tail: nothing moves there but towards the
-- head, so that nothing which stays is missed.
-- KEYS: s r
-- ARGV: priority, how many to leave out at the tail, how many
-- Reply: OK, now, ids, the one nearest the head first
-- @include queue
local skip, number = tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = redis.call('LRANGE', r[tonumber(ARGV[1])], -skip - number, -skip - 1)
return { 'OK', Q.now, ids }
