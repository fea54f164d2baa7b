-- Entries of indexes that no task accounts for are told and collected as gone; so are a few that
-- are wrong and can be righted. Needs s m b o z l y t d c a e g u ux v k kw p f x.
local FLAG = { k = HAS_CHECKPOINT, a = HAS_HISTORY, c = CANCELLING, l = HAS_LABELS }

local function first(entry)
  return entry:sub(1, 7)
end

local function last(entry)
  return entry:sub(-7)
end

local function same(entry)
  return entry
end

local function never()
  return false
end

local function has_label(id, row, entry)
  local text = has(row, HAS_LABELS) and redis.call('HGET', o, id .. 'l')
  if not text or not is_chain(text, 2) then return false end
  for _, label in ipairs(labels_of(text)) do
    if label .. id == entry then return true end
  end
  return false
end

-- The task that somebody waits for knows of it, or tells of its end.
local function is_followed(id, row, entry)
  if #entry ~= 25 then return false end
  if row and has(row, FOLLOWED) then return true end
  if row then
    tell('unaware', 'f', entry)
    set_flag(row, FOLLOWED, true)
    correct(id, row)
  end
  if (not row or row[STATE] >= COMPLETED) and not redis.call('ZSCORE', x, 'E' .. id) then
    tell('untold', 'x', id)
    owe('E', id)
  end
  return true
end

local function is_owed(_, _, entry, time)
  if #entry ~= 8 or not entry:find('^[BE]') then return false end
  if tonumber(time) > Q.now + 60000 then
    tell('wrong_score', 'x', entry)
    put(added, x, score(Q.now), entry)
  end
  return true
end

-- Of each key: which id an entry is about, whether it is right with that task's row, and without.
local WALKS = {
  o = { function(entry) return entry:sub(1, -2) end, function(_, row, entry)
    local letter = entry:sub(-1)
    return letter:find('[rep]') ~= nil or FLAG[letter] ~= nil and has(row, FLAG[letter])
  end, never },
  p = { same, function(_, row) return row[WAS] == BLOCKED end, never },
  g = { same, function(_, row) return row[STATE] < COMPLETED end, never },
  v = { last, has_label, never },
  kw = { last, function(id, row, entry)
    return row[WAS] == PENDING and has(row, PARKED) and parked_as(id, row) == entry
  end, never },
  f = { first, is_followed, is_followed },
  x = { function(entry) return entry:sub(2) end, is_owed, is_owed },
  u = { function(_, value) return first(value) end, is_remembered, is_remembered },
}
local LEXICAL = { v = true, kw = true, f = true } -- ordered by what they say, of one score
local INDEXED = { same, same, never }

local function look_at(where, found)
  local id_of, is_right, is_right_alone = unpack(WALKS[where] or INDEXED)
  local ids, key = {}, HASHES[where] or SETS[where]
  for i = 1, #found, 2 do ids[#ids + 1] = id_of(found[i], found[i + 1]) end
  for i, row in ipairs(safe_rows(ids)) do
    local id, entry, value, right = ids[i], found[2 * i - 1], found[2 * i], true
    if row == false and redis.call('HEXISTS', b, id) == 0 then
      right = is_right_alone(id, row, entry, value)
    elseif type(row) == 'table' and not row.purged then
      right = is_right(id, row, entry, value)
    end
    if not right then
      tell('stray', where, entry)
      put(HASHES[where] and unneeded or gone, key, entry)
    elseif LEXICAL[where] and tonumber(value) ~= 0 then
      tell('wrong_score', where, entry)
      put(added, key, 0, entry)
    end
  end
end
