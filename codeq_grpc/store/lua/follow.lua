#!lua flags=allow-oom
-- Notes that tasks, of this queue or others, or firings wait for tasks of this queue to end.
-- KEYS: s m f
-- ARGV: id of one that waits (18 bytes) and of the task that it waits for, of each
-- Reply: OK, now, then the state of each task, 0 if there is none
-- @include queue
-- @include rows
-- @include write
local ids, followed, metas, reply = {}, {}, {}, { 'OK', Q.now }
for at = 2, #ARGV, 2 do ids[#ids + 1] = ARGV[at] end
for i, row in ipairs(read_rows(ids)) do
  if row and row[STATE] < COMPLETED then
    followed[#followed + 1], followed[#followed + 2] = 0, ids[i] .. ARGV[2 * i - 1]
    set_flag(row, FOLLOWED, true)
    metas[#metas + 1], metas[#metas + 2] = ids[i], pack_row(row)
  end
  reply[#reply + 1] = row and row[STATE] or 0
end
write('ZADD', f, followed)
write('HSET', m, metas)
return reply
