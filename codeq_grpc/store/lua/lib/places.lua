-- Where tasks of a state stand. Each gives ids and the cursor behind each of them; `after` is the
-- cursor of the next place when this one is at its end.

-- To compare ids by: strings compare by the locale that the store was started with.
local function number_of(id)
  return (struct.unpack('>I7', id))
end

-- Where one that left its index stood: entries of one score stand by id, the last one first.
local function place_of(index, id, score)
  local first = redis.call('ZCOUNT', index, '(' .. score, '+inf')
  local behind, number = first + redis.call('ZCOUNT', index, score, score), number_of(id)
  while first < behind do
    local middle = math.floor((first + behind) / 2)
    if number_of(redis.call('ZREVRANGE', index, middle, middle)[1]) > number then
      first = middle + 1
    else
      behind = middle
    end
  end
  return first
end

local function by_time(index, cursor, budget)
  local start, cursors, ids = 0, {}, {}
  if cursor ~= '' then
    local id, score = cursor:sub(1, 7), cursor:sub(8)
    if redis.call('ZSCORE', index, id) == score then
      start = redis.call('ZREVRANK', index, id) + 1
    else
      start = place_of(index, id, score)
    end
  end
  local found = redis.call('ZREVRANGE', index, start, start + budget - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    ids[#ids + 1] = found[i]
    cursors[#cursors + 1] = found[i] .. found[i + 1]
  end
  return ids, cursors
end

local function by_label(label, cursor, from, to, budget)
  local below = '(' .. label .. cursor
  if cursor == '' then below = '[' .. label .. (to ~= '' and to or ('\255'):rep(7)) end
  local found = redis.call('ZREVRANGEBYLEX', v, below, '[' .. label .. from, 'LIMIT', 0, budget)
  local ids = {}
  for i, member in ipairs(found) do ids[i] = member:sub(-7) end
  return ids, ids
end

local function parked(cursor, budget)
  local ids, cursors, from = {}, {}, #cursor > 1 and '(' .. cursor:sub(2) or '-'
  for i, found in ipairs(redis.call('ZRANGEBYLEX', kw, from, '+', 'LIMIT', 0, budget)) do
    ids[i], cursors[i] = found:sub(-7), 'k' .. found
  end
  return ids, cursors
end

-- How far from the tail the entry is by now: newer ones move it there, and claims take it together
-- with all that are farther. Where it is not looked for all the way it counts as unmoved: some are
-- given twice then, and none is left out.
local NEAR, DEEP = 5000, 100000
local function offset_of(list, id, skip)
  if skip == 0 or redis.call('LINDEX', list, -skip) == id then return skip end
  local length = redis.call('LLEN', list)
  if skip < DEEP then
    local at = redis.call('LPOS', list, id, 'RANK', -1, 'MAXLEN', DEEP)
    if at and length - at > skip then return length - at end
    if not at and length <= DEEP then return length end
  end
  local found = redis.call('LRANGE', list, -skip - NEAR, -skip - 1)
  for i = #found, 1, -1 do
    if found[i] == id then return skip + #found + 1 - i end
  end
  return length <= skip + NEAR and length or skip
end

-- Lists from the tail: offset of the entry last given and its id.
local LOOK = 20000
local function by_list(cursor, budget)
  if cursor:sub(1, 1) == 'k' then return parked(cursor, budget) end
  local priority, skip, id = 9, 0, ''
  if cursor ~= '' then
    priority, skip, id = tonumber(cursor:sub(1, 1)), tonumber(cursor:sub(9)), cursor:sub(2, 8)
  end
  local list, ids, cursors = r[priority], {}, {}
  skip = offset_of(list, id, skip)
  local found = redis.call('LRANGE', list, -skip - budget, -skip - 1)
  for i = #found, 1, -1 do
    ids[#ids + 1] = found[i]
    cursors[#ids] = priority .. found[i] .. skip + #ids
  end
  -- Of a task that stands in a list twice the entry next to the tail counts: which of these are
  -- others, as far as LOOK entries tell.
  function cursors.stale(rows)
    local twice, nearer, stale, is_any = {}, {}, {}, false
    for i, row in ipairs(rows) do
      stale[i] = row and (has(row, PARKED) or row[PRIORITY] ~= priority)
      if row and has(row, TWICE) then twice[ids[i]], is_any = true, true end
    end
    for at = is_any and -math.min(skip, LOOK) or 0, -1, 1000 do
      for _, one in ipairs(redis.call('LRANGE', list, at, math.min(at + 999, -1))) do
        if twice[one] then nearer[one] = true end
      end
    end
    for i, one in ipairs(ids) do stale[i] = stale[i] or nearer[one] end
    return stale
  end
  cursors.after = priority > 0 and priority - 1 .. ('\0'):rep(7) .. 0 or 'k'
  return ids, cursors
end
