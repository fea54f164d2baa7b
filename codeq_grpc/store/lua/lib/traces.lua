-- What tasks have elsewhere: bodies, concurrency keys that they hold, windows of idempotency keys,
-- receipts of claims. Needs s h m b o z l y t d c a e g u ux k kw.

-- A body without a row may be what an aborted enqueue left, or all that is left of a task that was
-- acked. It was a task if something tells of an attempt, an end, or of somebody who waits for it.
local function is_proven(id, stands)
  for _, index in ipairs({ l, t, d, c, a }) do
    if stands[index][1] then return true end
  end
  for letter in ('repkac'):gmatch('.') do
    if redis.call('HEXISTS', o, id .. letter) == 1 then return true end
  end
  return redis.call('HEXISTS', g, id) == 1
end

local function check_bodies(found)
  local ids = {}
  for i = 1, #found, 2 do ids[#ids + 1] = found[i] end
  for i, row in ipairs(safe_rows(ids)) do
    local stands = not row and #ids[i] == 7 and scores_of({ ids[i] })
    if stands and (MODE == 'RESTORE' or is_proven(ids[i], stands)) then
      tell('no_row', 'm', ids[i])
      rebuild(ids[i], stands, 1)
    elseif not row then
      tell(stands and 'orphan' or 'stray', 'b', ids[i])
      if not stands or MODE == 'DISCARD' then put(unneeded, b, ids[i]) end
    end
  end
end

-- Entries of keys that got another window, or none, go when their time has come, unless that is
-- beyond every window.
local FURTHEST = 31 * 86400000
local function check_windows(found)
  for i = 1, #found, 2 do
    local entry = redis.call('HGET', u, found[i])
    local has_window = entry and #entry == 32 and struct.unpack('>I8', entry, 24) > 0
    if not has_window and tonumber(found[i + 1]) > Q.now + FURTHEST then
      tell('stray', 'ux', found[i])
      put(gone, ux, found[i])
    end
  end
end

local function check_receipts(found)
  for i = 1, #found, 2 do
    local is_receipt, value = found[i]:sub(-1) == '+', found[i + 1]
    if is_receipt and (#value < 16 or #value % 7 ~= 2) or not is_receipt and value:find('%D') then
      tell('stray', 'h', found[i])
      put(unneeded, h, found[i])
    end
  end
end

local function check_holders(found)
  for i = 1, #found, 2 do
    local ids, kept, seen = {}, {}, {}
    for at = 1, #found[i + 1], 7 do ids[#ids + 1] = found[i + 1]:sub(at, at + 6) end
    for j, row in ipairs(safe_rows(ids)) do
      local holds = row == true or row and row[STATE] == IN_PROGRESS and fixed(row).key == found[i]
      if holds and not seen[ids[j]] then kept[#kept + 1] = ids[j] end
      seen[ids[j]] = true
    end
    local text = table.concat(kept)
    if text ~= found[i + 1] or text == '' then
      tell('holders', 'k', found[i])
      if text == '' then put(unneeded, k, found[i]) else put(later, k, found[i], text) end
      if redis.call('ZCARD', kw) > 0 then put(fields, s, 'unpark', '') end
    end
  end
end

-- A row that was made anew does not have its key any more.
local function give_key(id, row, key)
  local at = #fixed(row).policy
  at = at + (has(row, HAS_EXPIRY) and 8 or 0) + (has(row, HAS_TIMEOUT) and 4 or 0)
  local text = struct.pack('>I2', #key) .. key
  row[FIXED] = row[FIXED]:sub(1, at) .. text .. row[FIXED]:sub(at + 1)
  row.parts = nil
  set_flag(row, HAS_IDEMPOTENCY, true)
  correct(id, row)
end

local LONGEST = 1024 -- bytes of a key: 256 characters
local function is_remembered(id, row, key, entry)
  if #entry ~= 32 or #key > LONGEST then return false end
  local window, final = struct.unpack('>I8B', entry, 24)
  local own = row and fixed(row).idempotency
  if not row and (final == 0 or window == 0) then return false end
  if own and own ~= '' and own ~= key then return false end
  if row and (final > 0 or own == '') then
    tell('wrong_key', 'u', key)
    put(fields, u, key, entry:sub(1, 31) .. '\0')
    if own == '' then give_key(id, row, key) end
  end
  if window > 0 and tonumber(redis.call('ZSCORE', ux, key)) ~= window then
    tell('unindexed', 'ux', key)
    put(added, ux, score(window), key)
  end
  return true
end
