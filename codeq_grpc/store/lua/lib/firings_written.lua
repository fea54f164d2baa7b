-- What becomes of firings, collected and then written: what leads to them, then the firings, then
-- their schedules, then what is no longer true. Whatever it breaks off after, a fire time has at
-- most one firing, and is due or owed until it has. Needs s m t f g o p x.
local OVERLAP = 'OVERLAP'
local changed, order, owing, made, closed = {}, {}, {}, 0, {}
local forgotten, owed = {}, 0

local function alter(one)
  if not changed[one.place] then order[#order + 1] = one.place end
  changed[one.place] = one
end

local function make(id, row, place, given)
  local one = {
    place = place, id = id, name = struct.pack('>I7', C.first + made), version = row.version,
    actual = C.now, previous = given.previous, cause = given.cause, state = given.state, cancel = 0,
    began = 0, ended = 0, text = given.text or '', new = true,
  }
  made = made + 1
  if is_open(one) then owing[one.name] = C.now end
  alter(one)
  return one
end

local function is_waiting(row)
  if row.buffered == 0 then return false end
  local place = place_at(row.number, row.buffered, row.buffered_cause)
  local one = changed[place] or read_firings({ place })[1]
  return not one
end

-- One is not open any more. With the last one a fire time that waits has its turn; none has while
-- the schedule is paused.
local function close(one, row) -- luacheck: ignore
  closed[one.name], owing[one.name] = one, false
  if not row or not is_waiting(row) then return end
  for _, other in ipairs(open_firings(row.number, 100)) do
    if not closed[other.name] then return end
  end
  local goes_on = not is(row, PAUSED) and (row.max == 0 or row.decided < row.max)
  make(one.id, row, place_at(row.number, row.buffered, row.buffered_cause), {
    previous = row.buffered_previous, cause = row.buffered_cause,
    state = goes_on and TO_ENQUEUE or SKIPPED, text = goes_on and '' or OVERLAP,
  })
  row.buffered = 0
  if goes_on then
    row.decided, owed = row.decided + 1, owed + 1
  else
    row.overlaps = row.overlaps + 1
  end
  keep(one.id, row)
end

local function write_firings()
  local x_in, x_out, o_in, p_in, g_in, f_in, o_out, p_out = {}, {}, {}, {}, {}, {}, {}, {}
  for name, time in pairs(owing) do
    local list = time and x_in or x_out
    if time then list[#list + 1] = score(time) end
    list[#list + 1] = name
  end
  for at, place in ipairs(order) do
    local one = changed[place]
    if one.new then
      g_in[#g_in + 1], g_in[#g_in + 2] = 0, place
      if is_open(one) then
        o_in[#o_in + 1], o_in[#o_in + 2] = one.name, place .. one.id
        p_in[#p_in + 1], p_in[#p_in + 2] = 0, place:sub(1, 7) .. one.name
      end
    end
    f_in[2 * at - 1], f_in[2 * at] = place, pack_firing(one)
  end
  for name, one in pairs(closed) do
    o_out[#o_out + 1], p_out[#p_out + 1] = name, one.place:sub(1, 7) .. name
  end
  if made > 0 then redis.call('HSET', s, 'clk', C.first + made - 1) end
  write('ZADD', x, x_in) -- from here `owed` finds the rest, if it comes to nothing
  write('HSET', o, o_in)
  write('ZADD', p, p_in)
  write('ZADD', g, g_in)
  write('HSET', f, f_in)
  write_schedules()
  write('ZREM', p, p_out)
  write('HDEL', o, o_out)
  write('ZREM', x, x_out)
  write('HDEL', f, forgotten)
  write('ZREM', g, forgotten)
end
