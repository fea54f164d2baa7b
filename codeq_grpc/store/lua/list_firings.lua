#!lua flags=no-writes
-- Reads firings of a schedule, the newest first.
-- KEYS: m f g
-- ARGV: id, place before which to begin or '', how many
-- Reply: OK, then place and firing of each; MISSING
-- @include schedules
local row = read_schedule(redis.call('HGET', m, ARGV[1]))
if not row then return { 'MISSING' } end
local from = ARGV[2] ~= '' and ARGV[2] or row.number .. ('\255'):rep(10)
local places = redis.call('ZREVRANGEBYLEX', g, '(' .. from, '[' .. row.number, 'LIMIT', 0, ARGV[3])
local reply = { 'OK' }
if #places > 0 then
  for at, raw in ipairs(redis.call('HMGET', f, unpack(places))) do
    reply[2 * at], reply[2 * at + 1] = places[at], raw or ''
  end
end
return reply
