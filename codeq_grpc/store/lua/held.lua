#!lua flags=no-writes
-- Tells which leases are still held.
-- KEYS: s m
-- ARGV: id and fence of each
-- Reply: OK, now, then of each HELD or LOST
-- @include clock
-- @include rows
local s, m = KEYS[1], KEYS[2]
local _, now = read_clock(s)
local ids = {}
for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local reply = { 'OK', now }
for i, row in ipairs(read_rows(m, ids)) do
  local held = row and row[STATE] == IN_PROGRESS and row[FENCE] == tonumber(ARGV[2 * i])
  reply[2 + i] = held and row[TIME] > now and 'HELD' or 'LOST'
end
return reply
