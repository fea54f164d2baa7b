-- Idempotency keys: `u` has of each key the id, 16 bytes of digest and `>I8B`: the end of its
-- window (0: as long as the task is kept), and the state in which the task was deleted if it
-- was before that. `ux` has the ends of the windows. Needs u ux v o.
local FAIL, REPLACE = 2, 3
local known = {}

local function look_up(tasks)
  local keys, ids = {}, {}
  for _, new in ipairs(tasks) do
    if new.digest then keys[#keys + 1] = fixed(new.row).idempotency end
  end
  if #keys == 0 then return end
  for i, entry in ipairs(redis.call('HMGET', u, unpack(keys))) do
    if entry and not known[keys[i]] then
      local old = { id = entry:sub(1, 7), digest = entry:sub(8, 23) }
      old.window, old.final = struct.unpack('>I8B', entry, 24)
      known[keys[i]] = old
      ids[#ids + 1] = old.id
    end
  end
  local by_id = {}
  for i, row in ipairs(read_rows(ids)) do by_id[ids[i]] = row end
  for _, old in pairs(known) do old.row = by_id[old.id] end
end

-- What the key decides about a new task: nothing, or a word, an id and a state.
local function settle(new)
  local old = known[fixed(new.row).idempotency]
  if not old or old.window > 0 and old.window <= Q.now then return end
  local state = old.row and old.row[STATE] or old.final
  if state == 0 then return end -- of a script that was aborted
  local overdue = old.row and (fixed(old.row).expiry or math.huge) <= Q.now
  if new.policy == REPLACE and overdue then return end
  if new.policy == REPLACE and state >= COMPLETED then return end
  if new.policy == REPLACE and state ~= IN_PROGRESS then
    if old.body then old.superseded, new.old = true, old.old else new.old = old.row end
    return 'REPLACED', old.id, new.row[STATE]
  end
  if new.policy == FAIL or new.policy == REPLACE then return 'EXISTS', old.id, state end
  return old.digest == new.digest and 'EXISTING' or 'MISMATCH', old.id, state
end

local function remember(new)
  local key = fixed(new.row).idempotency
  put(fields, u, key, new.id .. new.digest .. struct.pack('>I8B', new.window, 0))
  if new.window > 0 then put(added, ux, new.window, key) end
end

-- Puts a new task in the place of an old one that no worker holds.
local function replace(new)
  local id, row, old = new.id, new.row, new.old
  local keeps = {}
  for _, label in ipairs(new.labels or {}) do keeps[label] = true end
  for _, label in ipairs(labels_of(redis.call('HGET', o, id .. 'l'))) do
    if not keeps[label] then put(gone, v, label .. id) end
  end
  for field in (new.labels and 'epkac' or 'epkacl'):gmatch('.') do put(unneeded, o, id .. field) end
  if has(old, HAS_EXPIRY) and not has(row, HAS_EXPIRY) then put(gone, e, id) end
  set_flag(row, FOLLOWED, has(old, FOLLOWED))
  local stays = old[WAS] == PENDING and row[STATE] == PENDING and not has(old, PARKED)
  stays = stays and old[PRIORITY] == row[PRIORITY]
  -- Its entry stays, and it may come back to the same list.
  set_flag(row, TWICE, has(old, TWICE) or old[WAS] == PENDING and not stays)
  if stays then
    change(id, row)
    -- It may be that which was let in before those that are still parked under its old key.
    local key = fixed(old).key
    if key ~= '' and key ~= fixed(row).key then free(key, id) end
  else
    if old[WAS] == BLOCKED and row[STATE] == BLOCKED then old[WAS] = nil end
    leave(id, old, INDEX[row[STATE]])
    move(id, row, row[STATE], row[TIME])
  end
end
