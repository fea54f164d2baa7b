#!lua flags=no-writes
-- Reads the settings of a queue.
-- KEYS: s
-- ARGV: none
-- Reply: OK, version, settings for people, label of the payload schema in them or ''
local got = redis.call('HMGET', s, 'version', 'settings', 'schema')
return { 'OK', got[1] or '0', got[2] or '', got[3] or '' }
