-- What becomes of tasks, collected and then written in an order of which every prefix leaves each
-- task in the index that its row names: new entries, fields and rows, then what is no longer true.
-- Needs s w m z l y t d c a e g k kw p x r.
local INDEX = {
  [BLOCKED] = y, [SCHEDULED] = z, [IN_PROGRESS] = l, [COMPLETED] = t, [FAILED] = d,
  [CANCELLED] = c, [EXPIRED] = a,
}
local changed, order, raws, finals, left = {}, {}, {}, {}, 0
local freed, freed_keys = {}, {}
local added, fields, gone, later, unneeded = {}, {}, {}, {}, {}
local tails, heads, ready, earliest, owed, counts = {}, {}, 0, math.huge, 0, {}

local function put(groups, key, value, other)
  local group = groups[key]
  if not group then
    group = {}
    groups[key] = group
  end
  local n = #group + 1
  group[n] = value
  if other then group[n + 1] = other end
end

-- Scores as text, once each: redis.call would print every number with 17 digits.
local scores = {}
local function score(time)
  local text = scores[time]
  if not text then
    text = string.format('%.0f', time)
    scores[time] = text
  end
  return text
end

local function count(what, by)
  counts[what] = (counts[what] or 0) + by
end

local function change(id, row)
  if not changed[id] then order[#order + 1] = id end
  changed[id], row[CHANGED] = row, Q.now
end

local function free(key, id)
  local ids = freed[key]
  if not ids then
    ids = {}
    freed[key], freed_keys[#freed_keys + 1] = ids, key
  end
  ids[#ids + 1] = id
end

local function finish(id, row)
  if has(row, HAS_EXPIRY) then put(gone, e, id) end
  if has(row, FOLLOWED) then
    put(added, x, score(Q.now), 'E' .. id)
    owed = owed + 1
  end
end

local function vacate(id, was, to)
  local from = INDEX[was]
  if from and from ~= to then put(gone, from, id) end
  if was == IN_PROGRESS then left = left + 1 end
end

local function leave(id, row, to)
  vacate(id, row[WAS], to)
  -- A pending one may be that which was let in before those that are still parked.
  local let_in = row[WAS] == PENDING and to ~= l and not has(row, PARKED)
  if has(row, HAS_KEY) and (row[WAS] == IN_PROGRESS or let_in) then
    free(fixed(row).key, id)
  end
  if row[WAS] == BLOCKED then put(unneeded, p, id) end
  if row.purged then count('purging' .. row[WAS], -1) end
  if has(row, PARKED) then
    put(gone, kw, parked_as(id, row))
    set_flag(row, PARKED, false)
  end
end

local function move(id, row, state, time, at_head)
  local was, to, plain = row[WAS], INDEX[state], PLAIN[row[FLAGS]] and not row.purged
  if plain and was ~= BLOCKED then vacate(id, was, to) else leave(id, row, to) end
  if to then
    put(added, to, score(time), id)
    if state == SCHEDULED then earliest = math.min(earliest, time) end
  else
    put(at_head and heads or tails, row[PRIORITY], id)
    ready = ready + 1
  end
  row[STATE], row[TIME], row[WAS], row.purged = state, time, state, nil
  if state >= COMPLETED then
    finals[#finals + 1] = id
    if not plain then finish(id, row) end
  end
  change(id, row)
end
