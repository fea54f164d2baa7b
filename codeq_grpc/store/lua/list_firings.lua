#!lua flags=no-writes
-- Reads firings of a schedule, the newest first.
-- KEYS: m f g
-- ARGV: id, place before which to begin or '', how many
-- Reply: OK, then place and firing of each; MISSING
-- @include schedules
local row = read_schedule(redis.call('HGET', m, ARGV[1]))
if not row then return { 'MISSING' } end
-- A place of another schedule is behind all of this one.
local from = row.number .. (ARGV[2] == '' and ('\255'):rep(10) or '')
if ARGV[2]:sub(1, 7) == row.number then from = ARGV[2] end
local places = redis.call('ZREVRANGEBYLEX', g, '(' .. from, '[' .. row.number, 'LIMIT', 0, ARGV[3])
local reply = { 'OK' }
if #places > 0 then
  for at, raw in ipairs(redis.call('HMGET', f, unpack(places))) do
    reply[2 * at], reply[2 * at + 1] = places[at], raw or ''
  end
end
return reply
