-- Whether each task is where its row says, and only there. What is not so is told, and collected
-- for flush to set right. Needs s m b o z l y t d c a e v kw p x.
local PLACES = { 'y', 'z', 'r', 'l', 't', 'd', 'c', 'a' }
local findings, pending, blocked, sweeps = {}, {}, {}, nil

local function tell(what, where, name)
  local n = #findings
  findings[n + 1], findings[n + 2], findings[n + 3] = what, where, name
end

local function note(list, ...)
  local n = #list
  for i, value in ipairs({ ... }) do list[n + i] = value end
end

local function scores_of(ids)
  local stands = {}
  for _, index in ipairs({ y, z, l, t, d, c, a, e }) do
    stands[index] = redis.call('ZMSCORE', index, unpack(ids))
  end
  return stands
end

local function owe(kind, id)
  put(added, x, score(Q.now), kind .. id)
  owed = owed + 1
end

-- A row set right is no change of its task: what was seen of it before still holds.
local function correct(id, row)
  if not changed[id] then order[#order + 1] = id end
  changed[id] = row
end

-- What nobody can run, or nobody can let run, is a dead letter: somebody sees it there.
local function give_up(id, row, what, where)
  tell(what, where, id)
  put(fields, o, id .. 'e', PROBLEM)
  move(id, row, FAILED, Q.now)
end

-- One that a purge has cancelled stays where it was till it is swept, and is put off there.
local function check_places(id, row, was, stands, at)
  for state, index in pairs(INDEX) do
    local found, is_here = stands[index][at], state == row[WAS]
    local is_right = found and row.purged or tonumber(found) == row[TIME]
    if is_here and state == was and not is_right then
      tell(found and 'wrong_score' or 'unindexed', PLACES[state], id)
      put(added, index, score(row[TIME]), id)
    elseif found and not is_here then
      if was > 0 and state ~= was then tell('misplaced', PLACES[state], id) end
      put(gone, index, id)
    end
  end
  if row.purged then return end
  local expiry, told = fixed(row).expiry, tonumber(stands[e][at])
  if row[WAS] >= COMPLETED then expiry = nil end
  if expiry == told then return end
  if was > 0 and row[WAS] == was then tell(expiry and 'wrong_score' or 'misplaced', 'e', id) end
  if expiry then put(added, e, score(expiry), id) else put(gone, e, id) end
end

-- False when a task that is to run has no body.
local function check_body(id, row)
  local size = redis.call('HSTRLEN', b, id)
  local is_there = size > 0 or redis.call('HEXISTS', b, id) == 1
  if not is_there and row[WAS] < IN_PROGRESS then return false end
  if size ~= row[SIZE] then
    tell(is_there and 'body_size' or 'no_body', 'b', id)
    row[SIZE], row[REST] = size, math.min(row[REST], size)
    if not is_there and row[WAS] == IN_PROGRESS then row[MAX] = row[ATTEMPT] end
    correct(id, row)
  end
  return true
end

local function drop_flag(id, row, flag, what, where)
  tell(what, where, id)
  set_flag(row, flag, false)
  correct(id, row)
end

local function check_labels(id, text)
  local entries = labels_of(text)
  for i, label in ipairs(entries) do entries[i] = label .. id end
  for i, found in ipairs(redis.call('ZMSCORE', v, unpack(entries))) do
    if not found then
      tell('unindexed', 'v', id)
      put(added, v, 0, entries[i])
    end
  end
end

local function check_texts(id, row)
  if has(row, HAS_CHECKPOINT) and redis.call('HEXISTS', o, id .. 'k') == 0 then
    drop_flag(id, row, HAS_CHECKPOINT, 'no_text', 'o')
  end
  for letter, flag in pairs({ a = HAS_HISTORY, l = HAS_LABELS }) do
    local text = has(row, flag) and (redis.call('HGET', o, id .. letter) or '')
    if text and not (text ~= '' and is_chain(text, letter == 'a' and 28 or 2)) then
      drop_flag(id, row, flag, 'no_text', 'o')
      put(unneeded, o, id .. letter)
    elseif text and letter == 'l' then
      check_labels(id, text)
    end
  end
  if not has(row, CANCELLING) then return end
  if row[WAS] ~= IN_PROGRESS then
    drop_flag(id, row, CANCELLING, 'wrong_flag', 'm')
  elseif redis.call('HEXISTS', o, id .. 'c') == 0 then
    tell('no_text', 'o', id)
    put(fields, o, id .. 'c', '')
  end
end
