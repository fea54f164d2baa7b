#!lua flags=allow-oom
-- Deletes tasks that ended before a time.
-- KEYS: s m b o t d g
-- ARGV: before in ms or 0, least age in ms, limit, which: 't' completed, 'd' failed, 'td' both
-- Reply: OK, now, the time used, how many went, 1 when the limit cut it short
-- @include clock
-- @include rows
local s, m, b, o, t, d, g = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local _, now = read_clock(s)
local before, limit = now - tonumber(ARGV[2]), tonumber(ARGV[3])
if tonumber(ARGV[1]) > 0 then before = math.min(before, tonumber(ARGV[1])) end

local function prune(index, state, most)
  local ids = redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. before, 'LIMIT', 0, most)
  if #ids == 0 then return 0, 0 end
  local ended, texts = {}, {}
  for i, row in ipairs(read_rows(m, ids)) do
    if row and row[STATE] == state then
      ended[#ended + 1] = ids[i]
      texts[#texts + 1] = ids[i] .. 'r'
      texts[#texts + 1] = ids[i] .. 'e'
    end
  end
  if #ended > 0 then
    redis.call('HDEL', o, unpack(texts))
    redis.call('HDEL', g, unpack(ended))
    redis.call('HDEL', b, unpack(ended))
    redis.call('HDEL', m, unpack(ended))
  end
  redis.call('ZREM', index, unpack(ids))
  return #ended, #ids
end

local deleted, looked = 0, 0
if ARGV[4]:find('t', 1, true) then deleted, looked = prune(t, COMPLETED, limit) end
if ARGV[4]:find('d', 1, true) and looked < limit then
  local more, seen = prune(d, FAILED, limit - looked)
  deleted, looked = deleted + more, looked + seen
end
return { 'OK', now, before, deleted, looked == limit and 1 or 0 }
