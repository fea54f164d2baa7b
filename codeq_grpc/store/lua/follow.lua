#!lua flags=allow-oom
-- Notes that a task, of this queue or another, waits for tasks of this queue to end.
-- KEYS: s m f
-- ARGV: id of the task that waits (18 bytes), then those that it waits for
-- Reply: OK, now, then the state of each, 0 if there is none
-- @include queue
-- @include rows
-- @include write
local ids, followed, metas, reply = { unpack(ARGV, 2) }, {}, {}, { 'OK', Q.now }
for i, row in ipairs(read_rows(ids)) do
  if row and row[STATE] < COMPLETED then
    followed[#followed + 1], followed[#followed + 2] = 0, ids[i] .. ARGV[1]
    set_flag(row, FOLLOWED, true)
    metas[#metas + 1], metas[#metas + 2] = ids[i], pack_row(row)
  end
  reply[#reply + 1] = row and row[STATE] or 0
end
write('ZADD', f, followed)
write('HSET', m, metas)
return reply
