-- Chooses the tasks that a claim leases, at most `want` of `max_bytes`; parks those whose
-- concurrency key is taken. Gives ids, rows, how many entries of each list are done with, and
-- whether something else than a lack of tasks ended it.
local SCAN, CHECKPOINT_BYTES = 500, 262144
local holders, taken, admitted, checked = {}, {}, {}, {}

local function held_by(key)
  local ids = holders[key] or redis.call('HGET', k, key) or ''
  if Q.per_key > 0 and #ids / 7 >= Q.per_key and not checked[key] then
    ids, checked[key] = living(ids, key, taken), true
  end
  holders[key] = ids
  return ids
end

-- Whether the task's key lets it go; if not, it is parked.
local function admits(id, row)
  if Q.per_key == 0 then return true end
  local key = fixed(row).key
  local ids = held_by(key)
  if #ids / 7 >= Q.per_key then
    if not has(row, PARKED) then
      put(added, kw, 0, parked_as(id, row))
      set_flag(row, PARKED, true)
      change(id, row)
    end
    return false
  end
  if ids:find(id, 1, true) then ids = without(ids, { id }) end
  holders[key] = ids .. id
  taken[id], admitted[key] = true, true
  return true
end

local function is_claimable(row, priority)
  if not row or row[STATE] ~= PENDING or row[PRIORITY] ~= priority then return false end
  return PLAIN[row[FLAGS]] or not has(row, HAS_EXPIRY) or fixed(row).expiry > Q.now
end

local function pick(want, max_bytes)
  local ids, chosen, trims, seen, scanned, full = {}, {}, {}, {}, 0, false
  local function take(id, row)
    local size, plain = row[SIZE], PLAIN[row[FLAGS]]
    if not plain and has(row, HAS_CHECKPOINT) then size = size + CHECKPOINT_BYTES end
    if #ids > 0 and size > max_bytes then
      full = true
    elseif plain or not has(row, HAS_KEY) or admits(id, row) then
      max_bytes = max_bytes - size
      ids[#ids + 1], chosen[#chosen + 1] = id, row
    end
  end
  local function take_from(priority)
    local at, more = 0, true
    while more and not full and #ids < want do
      local ask = want - #ids
      local chunk = redis.call('LRANGE', r[priority], at, at + ask - 1)
      more = #chunk == ask
      for i, row in ipairs(read_rows(chunk)) do
        local id = chunk[i]
        if not seen[id] and is_claimable(changed[id] or row, priority) then
          take(id, changed[id] or row)
          if full then break end
          seen[id] = true
        end
        at, scanned = at + 1, scanned + 1
      end
      full = full or scanned >= SCAN
    end
    if at > 0 then trims[priority] = at end
  end
  for priority = 9, 0, -1 do take_from(priority) end
  for key in pairs(admitted) do put(fields, k, key, holders[key]) end
  return ids, chosen, trims, full
end
