#!lua flags=no-writes
-- Tells whether tasks of this queue know of others, of this queue or another, that wait for them.
-- KEYS: f
-- ARGV: of each pair id and the id of 18 bytes of the one that waits, in one
-- Reply: OK, then 1 or 0 of each
local reply = { 'OK' }
for i, found in ipairs(redis.call('ZMSCORE', f, unpack(ARGV))) do
  reply[1 + i] = found and 1 or 0
end
return reply
