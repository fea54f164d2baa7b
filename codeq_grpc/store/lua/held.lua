#!lua flags=no-writes
-- Tells which leases are still held.
-- KEYS: s m
-- ARGV: id and fence of each
-- Reply: OK, now, then of each HELD or LOST
-- @include queue
-- @include rows
local ids, reply = {}, { 'OK', Q.now }
for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
for i, row in ipairs(read_rows(ids)) do
  local held = row and row[STATE] == IN_PROGRESS and row[FENCE] == tonumber(ARGV[2 * i])
  reply[2 + i] = held and row[TIME] > Q.now and 'HELD' or 'LOST'
end
return reply
