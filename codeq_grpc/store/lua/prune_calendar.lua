#!lua flags=allow-oom
-- A step over a calendar: forgets what deleted schedules left, request keys that nobody may repeat
-- any more, and firings of long ago, unless they are open.
-- KEYS: s m h d f g o p x k kx w
-- ARGV: place to begin behind, '' at first; how many entries; time in ms before which a firing must
--   be, 0 for none of them
-- Reply: OK, how many entries went, place to go on behind or '' at the end
-- @include calendar
-- @include schedules
-- @include score
-- @include write
-- @include firings
local cursor, most, before = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local END, went = ('\255'):rep(10), 0

local function forget_places(places)
  write('HDEL', f, places)
  write('ZREM', g, places)
  went = went + #places
end

-- Of a schedule that broke off being deleted it says nothing: that one is there.
local function forget_deleted(waste)
  local number, first, version = struct.unpack('>c7I4I4', waste)
  local row = read_schedule(redis.call('HGET', m, waste:sub(16)))
  if row and row.number == number then
    redis.call('ZREM', w, waste)
    went = went + 1
    return
  end
  local range = { '[' .. number, '(' .. number .. END, 'LIMIT', 0, most }
  local places, opened = redis.call('ZRANGEBYLEX', g, unpack(range)),
    redis.call('ZRANGEBYLEX', p, unpack(range))
  local names, versions = {}, {}
  for at, member in ipairs(opened) do names[at] = member:sub(8) end
  for at = first, version do versions[#versions + 1] = number .. struct.pack('>I4', at) end
  write('ZREM', x, names)
  write('HDEL', o, names)
  write('ZREM', p, opened)
  write('HDEL', h, versions)
  forget_places(places)
  went = went + #names
  if #places < most and #names < most then
    redis.call('HDEL', d, number)
    redis.call('ZREM', w, waste)
    went = went + 1
  end
end

local function forget_requests()
  local keys = redis.call('ZRANGEBYSCORE', kx, '-inf', score(C.now), 'LIMIT', 0, most)
  local gone = {}
  for at, till in ipairs(#keys > 0 and redis.call('HMGET', k, unpack(keys)) or {}) do
    if till and struct.unpack('>I8', till) <= C.now then gone[#gone + 1] = keys[at] end
  end
  write('HDEL', k, gone)
  write('ZREM', kx, keys)
  went = went + #keys
end

local function forget_old()
  local looked, places = 0, {}
  repeat
    local from = cursor == '' and '-' or '(' .. cursor
    local found = redis.call('ZRANGEBYLEX', g, from, '+', 'LIMIT', 0, 50)
    looked = looked + 50
    for _, place in ipairs(found) do
      cursor = place
      if struct.unpack('>I8', place, 8) >= before then
        cursor = place:sub(1, 7) .. END -- on to the next schedule
        break
      end
      places[#places + 1] = place
    end
    if #found == 0 then cursor = '' end
  until cursor == '' or looked >= most
  local gone = {}
  for at, one in ipairs(read_firings(places)) do
    if not is_needed(one) then gone[#gone + 1] = places[at] end
  end
  forget_places(gone)
end

for _, waste in ipairs(redis.call('ZRANGE', w, 0, 0)) do forget_deleted(waste) end
forget_requests()
if before > 0 then forget_old() else cursor = '' end
return { 'OK', went, cursor }
