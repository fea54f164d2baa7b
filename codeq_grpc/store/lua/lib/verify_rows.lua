-- Every task of a batch, by its row; see lib/verify.lua. Needs s m b o z l y t d c a e v kw p x.
local function check_parked(id, row)
  if row[WAS] ~= PENDING then
    put(gone, kw, parked_as(id, row))
    drop_flag(id, row, PARKED, 'wrong_flag', 'm')
  elseif not redis.call('ZSCORE', kw, parked_as(id, row)) then
    tell('unindexed', 'kw', id)
    put(added, kw, 0, parked_as(id, row))
  end
end

local function check_blocked(id, row)
  local parents = redis.call('HGET', p, id)
  if not parents or parents == '' or #parents % 18 > 0 then
    give_up(id, row, 'no_parents', 'p')
  elseif not redis.call('ZSCORE', x, 'B' .. id) then
    note(blocked, id, row[CHANGED], parents)
  end
end

-- A purge has cancelled it: whatever else is wrong with it, the sweeper moves it.
local function check_purged(id)
  sweeps = sweeps or redis.call('HGET', s, 'sweep')
  if sweeps then return end
  tell('unswept', 's', id)
  put(fields, s, 'sweep', '0')
  sweeps = '0'
end

local function verify(id, row, stands, at)
  local was, expiry = row[WAS], fixed(row).expiry
  if row.purged then
    check_purged(id)
    return check_places(id, row, was, stands, at)
  end
  if has(row, PARKED) then check_parked(id, row) end
  if not check_body(id, row) then
    row[SIZE], row[REST] = 0, 0
    give_up(id, row, 'no_body', 'b')
  elseif was == BLOCKED then
    check_blocked(id, row)
  elseif was == PENDING and not has(row, PARKED) and (expiry or BEYOND) > Q.now then
    note(pending, id, row[PRIORITY], row[CHANGED], has(row, TWICE) and 1 or 0)
  elseif was >= COMPLETED and has(row, FOLLOWED) and not redis.call('ZSCORE', x, 'E' .. id) then
    tell('untold', 'x', id)
    owe('E', id)
  end
  check_places(id, row, was, stands, at)
  check_texts(id, row)
end

-- In which state a task was whose row is lost, as its indexes tell: what has not ended for certain
-- goes on.
local function state_of(id, stands, at)
  local parents = redis.call('HGET', p, id) or ''
  if stands[z][at] then return SCHEDULED, tonumber(stands[z][at]) end
  if stands[l][at] then return PENDING, Q.now end
  if stands[y][at] and #parents > 0 and #parents % 18 == 0 then return BLOCKED, Q.now end
  for state = COMPLETED, EXPIRED do
    local found = stands[INDEX[state]][at]
    if found then return state, tonumber(found) end
  end
  return PENDING, Q.now
end

-- Makes a row of what is left: body, index, expiry, labels. The rest takes the defaults.
local function rebuild(id, stands, at)
  local state, time = state_of(id, stands, at)
  local size, flags, fixed_part = redis.call('HSTRLEN', b, id), 0, ''
  local expiry, labels = tonumber(stands[e][at]), redis.call('HGET', o, id .. 'l')
  if state < COMPLETED and size == 0 then
    put(fields, o, id .. 'e', PROBLEM)
    state, time = FAILED, Q.now
  end
  if labels and #labels > 0 and is_chain(labels, 2) then
    flags = HAS_LABELS
    check_labels(id, labels)
  end
  if expiry and state < COMPLETED then
    flags, fixed_part = flags + HAS_EXPIRY, struct.pack('>I8', expiry)
  end
  local priority = Q.priority < 255 and Q.priority or 5
  local row = {
    0, flags + TWICE, priority, 0, Q.attempts > 0 and Q.attempts or ATTEMPTS, 0, size, size, 0, 0,
    time, Q.now, fixed_part, '',
  }
  move(id, row, state, time)
  if state == BLOCKED then owe('B', id) end
  -- It may have held a key, for which others wait.
  if redis.call('ZCARD', kw) > 0 then put(fields, s, 'unpark', '') end
  check_places(id, row, 0, stands, at)
end

-- An id or a fence that is yet to be given would be given twice.
local LAST = 9e15
local function check_numbers(id, row)
  local latest = math.max(struct.unpack('>I7', id), row[FENCE])
  if latest < Q.first or latest > LAST then return end
  tell('behind', 's', id)
  Q.first = latest + 1
  if MEND then redis.call('HSET', s, 'clk', score(latest)) end
end

local function verify_all(ids, packed)
  local stands = scores_of(ids)
  for i, id in ipairs(ids) do
    if #id ~= 7 then
      tell('stray', 'm', id)
      put(unneeded, m, id)
    elseif is_sound(packed[i]) then
      local row = read_row(packed[i])
      check_numbers(id, row)
      verify(id, row, stands, i)
    else
      tell('bad_row', 'm', id)
      rebuild(id, stands, i)
    end
  end
end
