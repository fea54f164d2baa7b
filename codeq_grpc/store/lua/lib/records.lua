-- Versions of schedules: `>I4I8I2I2I2` version, time made, lengths of who, why and terms; these,
-- the terms each behind its `>I2` length; then what people set. The current one of an id is in `b`,
-- those before under number and version in `h`. Needs b h.
local function version_of(record)
  return record and #record >= 18 and struct.unpack('>I4', record) or 0
end

local function terms_of(record) -- luacheck: ignore
  local terms = {}
  if not record or #record < 18 then return terms end
  local _, _, who, why, size = struct.unpack('>I4I8I2I2I2', record)
  local at = 19 + who + why
  local stop = at + size
  while at < stop do
    local length = struct.unpack('>I2', record, at)
    terms[#terms + 1] = record:sub(at + 2, at + 1 + length)
    at = at + 2 + length
  end
  return terms
end

local function place_of(row, version)
  return row.number .. struct.pack('>I4', version)
end

-- A change that broke off may have put one into `b` which its row does not know.
local function record_of(row, version, current)
  if version_of(current) == version then return current end
  return redis.call('HGET', h, place_of(row, version)) or current
end

local function records_of(ids, rows) -- luacheck: ignore
  local records = {}
  if #ids == 0 then return records end
  for at, current in ipairs(redis.call('HMGET', b, unpack(ids))) do
    records[at] = rows[at] and record_of(rows[at], rows[at].version, current) or ''
  end
  return records
end
