-- What fires of a schedule, by its policies. Needs f g p k.
local SOME, MISFIRE = 1000, 'MISFIRE' -- luacheck: ignore
local kept, held_for = tonumber(ARGV[1]), tonumber(ARGV[2])
local requests, request_ends = {}, {}

local function read_fire(id, head, key, times)
  local number, version, cause, checked, expected, next, act, misfires, count, missed =
    struct.unpack('>c7I4BBI8I8I8I4I2I2', head)
  local fire = {
    id = id, number = number, version = version, cause = cause, checked = checked == 1,
    expected = expected, next = next, act = act, misfires = misfires, key = key, times = {},
    missed = {},
  }
  if key ~= '' then cause = KEYED end
  for i = 1, count do
    local time, previous = struct.unpack('>I8I8', times, 16 * i - 15)
    fire.times[i] = { time = time, previous = previous, cause = cause }
  end
  for i = 1, missed do fire.missed[i] = struct.unpack('>I8', times, 16 * count + 8 * i - 7) end
  return fire
end

local function firing_at(place)
  return changed[place] or read_firings({ place })[1]
end

-- The place that a request key made before, if that is known still.
local function place_before(row, fire)
  local raw = fire.key ~= '' and redis.call('HGET', k, row.number .. fire.key)
  if not raw then return nil end
  local till, place = struct.unpack('>I8', raw), raw:sub(9)
  return till > C.now and place or nil
end

local function place_now(row, fire)
  local time = C.now
  local place = place_at(row.number, time, TRIGGER)
  while firing_at(place) or row.buffered == time do
    time = time + 1
    place = place_at(row.number, time, TRIGGER)
  end
  if fire.key ~= '' then
    local till = C.now + KNOWN_FOR
    requests[#requests + 1] = row.number .. fire.key
    requests[#requests + 1] = struct.pack('>I8', till) .. place
    request_ends[#request_ends + 1], request_ends[#request_ends + 2] =
      score(till), row.number .. fire.key
  end
  return place
end

-- Counted is what a call that broke off did not come to.
local function count_again(row, one)
  if one.state ~= SKIPPED then
    row.decided = row.decided + 1
  elseif one.text == OVERLAP then
    row.overlaps = row.overlaps + 1
  end
end

local function forget_old(row, coming)
  local from, to = '[' .. row.number, '(' .. row.number .. ('\255'):rep(9)
  local excess = redis.call('ZLEXCOUNT', g, from, to) + coming - kept
  if excess <= 0 then return end
  local places = redis.call('ZRANGEBYLEX', g, from, to, 'LIMIT', 0, math.min(excess, SOME))
  for at, one in ipairs(read_firings(places)) do
    local place = places[at]
    if not changed[place] and not is_needed(one) then forgotten[#forgotten + 1] = place end
  end
end

-- Past times are filled in, each of them, whatever runs.
local function policy_of(row, fire)
  return fire.cause == BACKFILL and ALLOW or row.overlap
end

local function fire_at(row, fire, given, place, open)
  local policy = policy_of(row, fire)
  given.state = TO_ENQUEUE
  if #open > 0 and policy == BUFFER_ONE and not is_waiting(row) then
    row.buffered, row.buffered_previous, row.buffered_cause =
      given.time, given.previous, given.cause
    return nil
  elseif #open > 0 and (policy == SKIP or policy == BUFFER_ONE) then
    given.state, given.text, row.overlaps = SKIPPED, OVERLAP, row.overlaps + 1
  else
    row.decided = row.decided + 1
    for _, one in ipairs(policy == CANCEL_PREVIOUS and open or {}) do
      if one.cancel == 0 then
        one.cancel, owing[one.name] = 1, C.now
        alter(one)
      end
    end
  end
  local one = make(fire.id, row, place, given)
  if given.state == TO_ENQUEUE then
    -- Whoever called carries it out by the reply; others take it up when that did not happen.
    open[#open + 1], owing[one.name] = one, C.now + held_for
  end
  return one
end
