#!lua
-- Decides what fires: writes a firing for each fire time, and moves schedules on to the next.
-- KEYS: s m t f g o p x k kx
-- ARGV: how many firings to keep of each, ms until others than the caller may carry out what is
--   made now, then of each id; `>c7I4BBI8I8I8I4I2I2`: number and
--   version that it must be of (7 zero bytes and 0 for any), cause, 1 if open tasks are known to go
--   on, next time expected, next, act, misfires in all, how many times and how many of the misfires
--   follow; the request key; these times, `>I8I8` with the one before each, and `>I8` of misfires
-- Reply: OK, then of each FIRED, CHANGED, MISSING, ENDED or BUSY; in a list place, firing and 1 if
--   it is new of each; in a list place and firing of those in the way; the time that waits, or 0
-- @include calendar
-- @include schedules
-- @include score
-- @include write
-- @include schedules_written
-- @include firings
-- @include firings_written
-- @include fire

-- Where a trigger's firing stands or will, and whether it does already or waits.
local function triggered(row, fire)
  local place = place_before(row, fire)
  if not place then return place_now(row, fire) end
  local time = struct.unpack('>I8', place, 8)
  if not firing_at(place) and row.buffered == time and is_waiting(row) then return place, time end
  return place
end

local function misfire(row, fire)
  for _, time in ipairs(fire.missed) do
    local place = place_at(row.number, time, TIME)
    if not firing_at(place) then
      make(fire.id, row, place, { previous = 0, cause = TIME, state = SKIPPED, text = MISFIRE })
    end
    row.last = math.max(row.last, time)
  end
  row.misfires = row.misfires + fire.misfires
end

local function go_on(row, fire)
  if fire.cause == TIME then row.next, row.act = fire.next, fire.act end
  if not is_waiting(row) then row.buffered = 0 end
  if row.max > 0 and row.decided >= row.max then row.next, row.act = 0, 0 end
  mark(row, ENDED, row.next == 0)
  keep(fire.id, row)
end

local function look_up(row, fire)
  local places, had, fresh, waits = {}, {}, false, nil
  for at, given in ipairs(fire.times) do places[at] = place_at(row.number, given.time, TIME) end
  if fire.cause == TRIGGER then
    places[1], waits = triggered(row, fire)
    fire.times[1].time = struct.unpack('>I8', places[1], 8)
  end
  for at, one in ipairs(read_firings(places)) do
    had[at] = changed[places[at]] or one
    if fire.cause == BACKFILL and one and one.state == SKIPPED then had[at] = false end
    fresh = fresh or not had[at]
  end
  return places, had, fresh, waits
end

local function decide(row, fire)
  if not row then return 'MISSING' end
  local by_time = fire.cause == TIME
  local is_other = by_time and (is(row, PAUSED) or row.next ~= fire.expected)
  if is_other or not is_expected(row, fire.number, fire.version) then return 'CHANGED' end
  local places, had, fresh, waits = look_up(row, fire)
  if waits then return 'FIRED', {}, {}, waits end
  if fresh and not by_time and row.max > 0 and row.decided >= row.max then return 'ENDED' end
  local policy = policy_of(row, fire)
  local open = fresh and policy ~= ALLOW and open_firings(row.number, SOME) or {}
  if #open > 0 and policy ~= CANCEL_PREVIOUS and not fire.checked then
    return 'BUSY', {}, open
  end
  local done, found = row.last, {}
  misfire(row, fire)
  for at, given in ipairs(fire.times) do
    local one = had[at]
    if one and by_time and one.cause == TIME and given.time > done then count_again(row, one) end
    if not one and (row.max == 0 or row.decided < row.max) then
      one = fire_at(row, fire, given, places[at], open)
    end
    if one then found[#found + 1] = one end
    if by_time then row.last = math.max(row.last, given.time) end
  end
  go_on(row, fire)
  forget_old(row, #found)
  return 'FIRED', found, {}, row.buffered
end

local reply, ids = { 'OK' }, {}
for at = 3, #ARGV, 4 do ids[#ids + 1] = ARGV[at] end
for at, row in ipairs(read_schedules(ids)) do
  local base = 4 * at - 1
  row = written[ids[at]] or row
  local fire = read_fire(ids[at], ARGV[base + 1], ARGV[base + 2], ARGV[base + 3])
  local word, found, open, waiting = decide(row, fire)
  local count, list, busy = #reply, {}, {}
  for _, one in ipairs(found or {}) do
    list[#list + 1], list[#list + 2], list[#list + 3] =
      one.place, pack_firing(one), one.new and 1 or 0
  end
  for _, one in ipairs(open or {}) do
    busy[#busy + 1], busy[#busy + 2] = one.place, pack_firing(one)
  end
  reply[count + 1], reply[count + 2], reply[count + 3], reply[count + 4] =
    word, list, busy, waiting or 0
end
write('ZADD', kx, request_ends)
write('HSET', k, requests)
write_firings()
return reply
