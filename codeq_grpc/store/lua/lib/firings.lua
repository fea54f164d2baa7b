-- Firings: a place is number of the schedule, fire time and 1 if it was triggered, which `g` has in
-- order; `f` has there a head as below, then id of the task, or why it was skipped. Of those open
-- `o` has place and schedule id by name, and `p` number and name. Needs s f o p.
local FIRING = '>c7I4I8I8BBBI8I8'
local TO_ENQUEUE, OPEN, SKIPPED = 20, 21, 22 -- luacheck: ignore
local TIME, TRIGGER, BACKFILL = 1, 2, 3 -- luacheck: ignore
local KEYED, KNOWN_FOR = 4, 86400000 -- triggered by a request whose key finds it so many ms

local function place_at(number, time, cause) -- luacheck: ignore
  return number .. struct.pack('>I8B', time, (cause == TRIGGER or cause == KEYED) and 1 or 0)
end

local function read_firing(place, raw)
  if not raw then return false end
  local name, version, actual, previous, cause, state, cancel, began, ended, at =
    struct.unpack(FIRING, raw)
  return {
    place = place, name = name, version = version, actual = actual, previous = previous,
    cause = cause, state = state, cancel = cancel, began = began, ended = ended, text = raw:sub(at),
  }
end

local function pack_firing(one) -- luacheck: ignore
  return struct.pack(FIRING, one.name, one.version, one.actual, one.previous, one.cause, one.state,
    one.cancel, one.began, one.ended) .. one.text
end

local function is_open(one)
  return one and (one.state == TO_ENQUEUE or one.state == OPEN)
end

local function is_needed(one) -- luacheck: ignore
  return is_open(one) or one and one.cause == KEYED and one.actual + KNOWN_FOR > C.now
end

local function read_firings(places)
  local found = {}
  if #places > 0 then
    for at, raw in ipairs(redis.call('HMGET', f, unpack(places))) do
      found[at] = read_firing(places[at], raw)
    end
  end
  return found
end

-- By names: each with the id of its schedule, or false if there is none of that name.
local function firings_named(names)
  local places, ids, found = {}, {}, {}
  if #names == 0 then return found end
  for at, entry in ipairs(redis.call('HMGET', o, unpack(names))) do
    places[at], ids[at] = (entry or ''):sub(1, 16), (entry or ''):sub(17)
  end
  for at, one in ipairs(read_firings(places)) do
    found[at] = one and one.name == names[at] and one
    if found[at] then one.id = ids[at] end
  end
  return found
end

-- The oldest open firings of a schedule; what a call that broke off left behind is none.
local function open_firings(number, most) -- luacheck: ignore
  local names, open = {}, {}
  local range = { '[' .. number, '(' .. number .. ('\255'):rep(8) }
  for at, member in ipairs(redis.call('ZRANGEBYLEX', p, range[1], range[2], 'LIMIT', 0, most)) do
    names[at] = member:sub(8)
  end
  for _, one in ipairs(firings_named(names)) do
    if is_open(one) then open[#open + 1] = one end
  end
  return open
end
