#!lua flags=allow-oom
-- Takes entries of the outbox that are due, for a while: whoever takes them has to settle them.
-- An entry is `B` and the id of a blocked task, or `E` and that of one that ended.
-- KEYS: s m p f x
-- ARGV: limit, for how many ms, followers of one task to give at most
-- Reply: OK, now, then of each entry, state of the task, the ids of those that it depends on or
--   that depend on it, each of 18 bytes, and 1 when there are more of them
-- @include queue
-- @include rows
-- @include write
local most = tonumber(ARGV[3])
local entries = redis.call('ZRANGEBYSCORE', x, '-inf', Q.now, 'LIMIT', 0, tonumber(ARGV[1]))
local ids, taken, reply = {}, {}, { 'OK', Q.now }
for i, entry in ipairs(entries) do
  ids[i] = entry:sub(2)
  taken[2 * i - 1], taken[2 * i] = Q.now + tonumber(ARGV[2]), entry
end
write('ZADD', x, taken)
local rows = read_rows(ids)
for i, entry in ipairs(entries) do
  local id, others = ids[i], {}
  if entry:sub(1, 1) == 'B' then
    others[1] = redis.call('HGET', p, id) or ''
  else
    local last = '(' .. id .. ('\255'):rep(19)
    for j, found in ipairs(redis.call('ZRANGEBYLEX', f, '[' .. id, last, 'LIMIT', 0, most)) do
      others[j] = found:sub(8)
    end
  end
  local n = #reply
  reply[n + 1], reply[n + 2] = entry, rows[i] and rows[i][STATE] or 0
  reply[n + 3], reply[n + 4] = table.concat(others), #others == most and 1 or 0
end
return reply
