-- Writes what lib/changes.lua collected.

-- Of those that hold a key only those count whose task is in progress: no other can leak. `taken`
-- has those that will be.
local function living(holders, key, taken)
  local names, kept = {}, {}
  for at = 1, #holders, 7 do names[#names + 1] = holders:sub(at, at + 6) end
  for i, row in ipairs(read_rows(names)) do
    local holds = row and row[STATE] == IN_PROGRESS and fixed(row).key == key
    if holds or taken[names[i]] then kept[#kept + 1] = names[i] end
  end
  return table.concat(kept)
end

-- Lets go of concurrency keys; the first tasks parked under each come back into their lists.
local function release()
  local lists = {}
  if #freed_keys == 0 then return lists end
  if redis.call('HLEN', k) == 0 and redis.call('ZCARD', kw) == 0 then return lists end
  for _, key in ipairs(freed_keys) do
    local holders, skip = without(redis.call('HGET', k, key) or '', freed[key]), 0
    if Q.per_key > 0 and #holders / 7 >= Q.per_key then holders = living(holders, key, {}) end
    local room = Q.per_key > 0 and Q.per_key - #holders / 7 or 500
    if holders == '' then put(unneeded, k, key) else put(later, k, key, holders) end
    while room > 0 do
      local parked = parked_under(key, skip, math.min(room, 100))
      local names = {}
      for i, member in ipairs(parked) do names[i] = member:sub(-7) end
      for i, row in ipairs(read_rows(names)) do
        row = changed[names[i]] or row
        put(gone, kw, parked[i])
        if row and row[STATE] == PENDING and has(row, PARKED) then
          put(lists, row[PRIORITY], names[i])
          change(names[i], row)
          set_flag(row, PARKED, false)
          room, ready = room - 1, ready + 1
        end
      end
      skip = skip + #parked
      if #parked == 0 then room = 0 end
    end
  end
  return lists
end

local function push_heads(lists)
  for priority, ids in pairs(lists) do
    local backwards = {}
    for i, id in ipairs(ids) do backwards[#ids + 1 - i] = id end
    write('LPUSH', r[priority], backwards)
  end
end

local function wake_for_changes()
  local wanted = Q.most > 0 and math.max(ready, left) or ready
  if wanted == 0 and earliest < math.huge then
    -- Whoever waits knows the next due time; an earlier one must be told.
    wanted = changed[redis.call('ZRANGE', z, 0, 0)[1]] and 1 or 0
  end
  wake(wanted)
end

local function flush()
  local unparked, metas = release(), {}
  for key, list in pairs(added) do write('ZADD', key, list) end
  for priority, ids in pairs(tails) do write('RPUSH', r[priority], ids) end
  push_heads(unparked)
  push_heads(heads)
  for key, list in pairs(fields) do write('HSET', key, list) end
  for i, id in ipairs(order) do
    raws[id] = pack_row(changed[id])
    metas[2 * i - 1], metas[2 * i] = id, raws[id]
  end
  write('HSET', m, metas)
  for key, list in pairs(gone) do write('ZREM', key, list) end
  for key, list in pairs(later) do write('HSET', key, list) end
  for key, list in pairs(unneeded) do write('HDEL', key, list) end
  for what, by in pairs(counts) do redis.call('HINCRBY', s, what, by) end
  tell_ended(finals)
  tell_watchers(order)
  wake_for_changes()
end
