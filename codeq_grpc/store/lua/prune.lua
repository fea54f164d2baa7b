#!lua flags=allow-oom
-- Deletes tasks that ended before a time, and idempotency keys whose window is over.
-- KEYS: s m b o y t d c a g u ux v p x
-- ARGV: before in ms or 0, least age in ms or -1 for the queue's retention, the server's
--   retention, limit, states: the letters of their indexes (t d c a)
-- Reply: OK, now, the time used, how many went, 1 when the limit cut it short
-- @include queue
-- @include rows
-- @include write
-- @include labels
local LOOK = 2000 -- at tasks of which others have yet to be told
local age, limit = tonumber(ARGV[2]), tonumber(ARGV[4])
if age < 0 then age = Q.retention > 0 and Q.retention or tonumber(ARGV[3]) end
local before, deleted, left = Q.now - age, 0, 0
if tonumber(ARGV[1]) > 0 then before = math.min(before, tonumber(ARGV[1])) end

-- A key whose window is still open outlives its task, and remembers how that ended.
local function forget_keys(keys, owners, state)
  local over, kept = {}, {}
  for i, entry in ipairs(#keys > 0 and redis.call('HMGET', u, unpack(keys)) or {}) do
    if entry and (not owners or entry:sub(1, 7) == owners[i]) then
      local window = struct.unpack('>I8', entry, 24)
      if window <= Q.now and (owners or window > 0) then
        over[#over + 1] = keys[i]
      elseif owners then
        kept[#kept + 1], kept[#kept + 2] = keys[i], entry:sub(1, 31) .. string.char(state)
      end
    end
  end
  write('HSET', u, kept)
  write('HDEL', u, over)
end

local function forget_labels(ids)
  local names, entries = {}, {}
  for i, id in ipairs(ids) do names[i] = id .. 'l' end
  for i, packed in ipairs(#names > 0 and redis.call('HMGET', o, unpack(names)) or {}) do
    for _, label in ipairs(labels_of(packed)) do entries[#entries + 1] = label .. ids[i] end
  end
  write('ZREM', v, entries)
end

-- Gives how many of these stay, since others have yet to be told of their end.
local function forget(index, state, ids)
  local ended, texts, keys, owners, owing, leaving = {}, {}, {}, {}, 0, {}
  local function let_go(id, row)
    ended[#ended + 1] = id
    for field in ('repkacl'):gmatch('.') do texts[#texts + 1] = id .. field end
    if has(row, HAS_IDEMPOTENCY) then
      keys[#keys + 1], owners[#owners + 1] = fixed(row).idempotency, id
    end
  end
  for i, row in ipairs(read_rows(ids)) do
    local id, is_ended = ids[i], row and row[STATE] == state
    if left + #leaving == limit then break end
    if is_ended and has(row, FOLLOWED) and redis.call('ZSCORE', x, 'E' .. id) then
      owing = owing + 1
    else
      leaving[#leaving + 1] = id
      if is_ended then let_go(id, row) end
    end
  end
  forget_keys(keys, owners, state)
  forget_labels(ended)
  write('HDEL', o, texts)
  write('HDEL', g, ended)
  write('HDEL', b, ended)
  write('ZREM', y, ended) -- where an aborted script may have left them
  write('HDEL', p, ended)
  write('HDEL', m, ended)
  write('ZREM', index, leaving)
  deleted, left = deleted + #ended, left + #leaving
  return owing
end

local function prune(index, state)
  local skip, most = 0, math.max(limit, 100)
  while left < limit and skip < LOOK do
    local ids = redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. before, 'LIMIT', skip, most)
    skip = skip + forget(index, state, ids)
    if #ids < most then return end
  end
end

local indexes = {
  t = { t, COMPLETED }, d = { d, FAILED }, c = { c, CANCELLED }, a = { a, EXPIRED },
}
for letter in ARGV[5]:gmatch('.') do prune(unpack(indexes[letter])) end
local over = redis.call('ZRANGEBYSCORE', ux, '-inf', Q.now, 'LIMIT', 0, limit)
forget_keys(over)
write('ZREM', ux, over)
local more = left >= limit or #over >= limit
return { 'OK', Q.now, before, deleted, more and 1 or 0 }
