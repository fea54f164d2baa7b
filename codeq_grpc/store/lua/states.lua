#!lua flags=no-writes
-- Reads the states of tasks.
-- KEYS: s m
-- ARGV: ids
-- Reply: OK, now, then the state of each, 0 if there is no such task
-- @include queue
-- @include rows
local reply = { 'OK', Q.now }
for i, row in ipairs(read_rows(ARGV)) do reply[2 + i] = row and row[STATE] or 0 end
return reply
