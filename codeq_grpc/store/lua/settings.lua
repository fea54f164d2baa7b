#!lua flags=no-writes
-- Reads the settings of a queue.
-- KEYS: s
-- ARGV: none
-- Reply: OK, version, settings for people
local got = redis.call('HMGET', s, 'version', 'settings')
return { 'OK', got[1] or '0', got[2] or '' }
