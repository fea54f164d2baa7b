-- Whether schedules and firings can be read and have their entries. Needs s m b h d t v f g o p x.
local function drop(where, entry)
  if not tell('stray', where, entry) then return end
  if HASHES[where] then
    redis.call('HDEL', HASHES[where], entry)
  else
    redis.call('ZREM', SETS[where], entry)
  end
end

local function check_lexical(where, entry, time)
  if tonumber(time) ~= 0 and tell('wrong_score', where, entry) then
    redis.call('ZADD', SETS[where], 0, entry)
  end
end

-- A number beyond the latest one given would be given again.
local function check_number(name)
  local number = struct.unpack('>I7', name)
  if number < C.first or number >= 9e15 then return end
  if tell('behind', 's', name) then redis.call('HSET', s, 'clk', score(number)) end
  C.first = number + 1
end

-- One of which nothing is known any more but what people set is paused: somebody is to see it.
local function restore(id)
  local record = safe_record(id)
  if not tell('bad_schedule', 'm', id) then return end
  if not record then
    redis.call('HDEL', m, id)
    return
  end
  local row = { number = struct.pack('>I7', C.first), reason = 'restored by the doctor' }
  for _, name in ipairs(FIELDS) do row[name] = row[name] or 0 end
  row.flags, row.overlap, row.misfire, row.grace = PAUSED, ALLOW, 2, 300000
  row.version = math.max(1, version_of(record))
  row.first = row.version
  redis.call('HSET', s, 'clk', score(C.first))
  redis.call('HSET', d, row.number, id)
  redis.call('HSET', m, id, pack_schedule(row))
  C.first = C.first + 1
end

local function check_record(id, row)
  local current = safe_record(id)
  if version_of(current) == row.version then return current end
  local older = redis.call('HGET', h, place_of(row, row.version))
  if safe_terms(older) and version_of(older) == row.version then
    if tell('stray', 'b', id) then redis.call('HSET', b, id, older) end
    return older
  end
  if not tell('no_record', 'b', id) then return nil end
  if current then
    row.version = math.max(1, version_of(current))
    row.first = math.min(row.first, row.version)
    redis.call('HSET', m, id, pack_schedule(row))
  else
    redis.call('HDEL', m, id)
    redis.call('HDEL', b, id)
  end
  return current
end

local function check_terms(id, record)
  for _, term in ipairs(terms_of(record)) do
    if not redis.call('ZSCORE', v, term .. id) and tell('unindexed', 'v', id) then
      redis.call('ZADD', v, 0, term .. id)
    end
  end
end

local function check_schedule(id, raw)
  local row = safe_row(raw)
  if not row then return restore(id) end
  local record = check_record(id, row)
  if not record then return end
  check_number(row.number)
  check_terms(id, record)
  if redis.call('HGET', d, row.number) ~= id and tell('unindexed', 'd', id) then
    redis.call('HSET', d, row.number, id)
  end
  local waiting = row.buffered > 0
    and firing_at(place_at(row.number, row.buffered, row.buffered_cause))
  if waiting and tell('wrong_flag', 'm', id) then
    row.buffered = 0
    redis.call('HSET', m, id, pack_schedule(row))
  end
  local time = look_at(row)
  if time > 0 and not redis.call('ZSCORE', t, id) and tell('unindexed', 't', id) then
    redis.call('ZADD', t, score(time), id)
  end
end

local function check_firing(place, raw)
  local one, number = safe_firing(place, raw), place:sub(1, 7)
  if not one then
    if tell('bad_firing', 'f', place) then redis.call('HDEL', f, place) end
    return
  end
  if not is_kept(number) then return drop('f', place) end
  check_number(one.name)
  if not redis.call('ZSCORE', g, place) and tell('unindexed', 'g', place) then
    redis.call('ZADD', g, 0, place)
  end
  local id = redis.call('HGET', d, number)
  if not is_open(one) or not row_numbered(number) then return end
  if redis.call('HGET', o, one.name) ~= place .. id and tell('unindexed', 'o', place) then
    redis.call('HSET', o, one.name, place .. id)
  end
  if not redis.call('ZSCORE', p, number .. one.name) and tell('unindexed', 'p', place) then
    redis.call('ZADD', p, 0, number .. one.name)
  end
  if is_owed(one) and not redis.call('ZSCORE', x, one.name) and tell('unindexed', 'x', place) then
    redis.call('ZADD', x, score(C.now), one.name)
  end
end
