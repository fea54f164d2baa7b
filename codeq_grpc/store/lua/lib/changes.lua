-- What becomes of tasks, collected and then written in an order of which every prefix leaves each
-- task in the index that its row names: new entries, fields and rows, then what is no longer true.
-- Needs s w m z l y t d c a e g k kw p x r.
local INDEX = {
  [BLOCKED] = y, [SCHEDULED] = z, [IN_PROGRESS] = l, [COMPLETED] = t, [FAILED] = d,
  [CANCELLED] = c, [EXPIRED] = a,
}
local changed, order, finals, left = {}, {}, {}, 0
local freed, freed_keys = {}, {}
local added, fields, gone, later, unneeded = {}, {}, {}, {}, {}
local tails, heads, ready, earliest, owed, counts = {}, {}, 0, math.huge, 0, {}

local function put(groups, key, value, other)
  local group = groups[key]
  if not group then
    group = {}
    groups[key] = group
  end
  group[#group + 1] = value
  if other then group[#group + 1] = other end
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
  finals[#finals + 1] = id
  if has(row, HAS_EXPIRY) then put(gone, e, id) end
  if has(row, FOLLOWED) then
    put(added, x, Q.now, 'E' .. id)
    owed = owed + 1
  end
end

local function leave(id, row, to)
  local from = INDEX[row.was]
  if from and from ~= to then put(gone, from, id) end
  if row.was == IN_PROGRESS then left = left + 1 end
  -- A pending one may be that which was let in before those that are still parked.
  local let_in = row.was == PENDING and to ~= l and not has(row, PARKED)
  if has(row, HAS_KEY) and (row.was == IN_PROGRESS or let_in) then
    free(fixed(row).key, id)
  end
  if row.was == BLOCKED then put(unneeded, p, id) end
  if row.purged then count('purging' .. row.was, -1) end
  if has(row, PARKED) then
    put(gone, kw, parked_as(id, row))
    set_flag(row, PARKED, false)
  end
end

local function move(id, row, state, time, at_head)
  local to = INDEX[state]
  leave(id, row, to)
  if to then
    put(added, to, time, id)
    if state == SCHEDULED then earliest = math.min(earliest, time) end
  else
    put(at_head and heads or tails, row[PRIORITY], id)
    ready = ready + 1
  end
  row[STATE], row[TIME], row.was, row.purged = state, time, state, nil
  if state >= COMPLETED then finish(id, row) end
  change(id, row)
end
