-- Reads what is in a calendar, whatever it is: nil if none of ours wrote it. Needs m b d f w.
local LATEST, WHILE = 100000000000000, 60000 -- no time in ms is later; nothing is taken for longer
local DAYS = 172800000 -- nor is a request key known for
local function is_sane(row)
  for _, name in ipairs({ 'next', 'act', 'last', 'buffered', 'buffered_previous', 'grace' }) do
    if row[name] >= LATEST then return false end
  end
  return row.flags < 16 and row.overlap >= ALLOW and row.overlap <= CANCEL_PREVIOUS
    and row.misfire >= 1 and row.misfire <= 3 and row.first >= 1 and row.first <= row.version
end

local function safe_row(raw)
  if not raw or #raw < 119 then return nil end
  local row = read_schedule(raw)
  return is_sane(row) and row or nil
end

local function row_of(id)
  return safe_row(redis.call('HGET', m, id))
end

local function row_numbered(number)
  local id = redis.call('HGET', d, number)
  local row = id and row_of(id)
  return row and row.number == number and row or nil
end

-- Whether entries of that number mean something: there is the schedule, or it is deleted and they
-- are not forgotten yet.
local function is_kept(number)
  if row_numbered(number) then return true end
  local waste = redis.call('ZRANGEBYLEX', w, '[' .. number, '(' .. number .. '\255', 'LIMIT', 0, 1)
  return #number == 7 and #waste > 0
end

local function safe_terms(record)
  if not record or #record < 18 then return nil end
  local _, _, who, why, size = struct.unpack('>I4I8I2I2I2', record)
  local at = 19 + who + why
  local stop = at + size
  if stop > #record + 1 then return nil end
  while at < stop - 1 do at = at + 2 + struct.unpack('>I2', record, at) end
  return at == stop and terms_of(record) or nil
end

local function safe_record(id)
  local record = redis.call('HGET', b, id)
  return safe_terms(record) and record or nil
end

local function safe_firing(place, raw)
  if not raw or #raw < 42 or #place ~= 16 then return nil end
  local one = read_firing(place, raw)
  local is_known = one.state <= 8 or one.state >= TO_ENQUEUE and one.state <= SKIPPED
  return is_known and one.cause >= TIME and one.cause <= KEYED and one.cancel <= 1 and one or nil
end

local function firing_at(place)
  return safe_firing(place, redis.call('HGET', f, place))
end

local function is_owed(one)
  return one.state == TO_ENQUEUE or one.state == OPEN and one.cancel == 1
end
