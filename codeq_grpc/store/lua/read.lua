#!lua flags=no-writes
-- Reads tasks, as many as fit into some bytes, one at least.
-- KEYS: s m b o
-- ARGV: 1 with payload, result, checkpoint and attempts; bytes at most; ids
-- Reply: OK, now, then of each row ('' if there is none), spec, error, progress, result,
--   checkpoint, attempts; fewer than asked for if they would not fit
-- @include queue
-- @include rows
local full, room = ARGV[1] == '1', tonumber(ARGV[2])
local ids, reply = { unpack(ARGV, 3) }, { 'OK', Q.now }
for i, row in ipairs(read_rows(ids)) do
  local id, parts = ids[i], { '', '', '', '', '', '', '' }
  if row then
    local body = redis.call('HGET', b, id) or ''
    parts[1], parts[2] = pack_row(row), full and body or body:sub(1, row[REST])
    local texts = redis.call('HMGET', o, id .. 'e', id .. 'p', id .. 'r', id .. 'k', id .. 'a')
    for j = 1, full and 5 or 2 do parts[2 + j] = texts[j] or '' end
  end
  for j = 1, 7 do room = room - #parts[j] end
  if room < 0 and i > 1 then break end
  for j = 1, 7 do reply[#reply + 1] = parts[j] end
end
return reply
