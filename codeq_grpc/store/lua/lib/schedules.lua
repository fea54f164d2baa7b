-- Rows of schedules: a head as FIELDS names it, then the reason of a pause; store/calendar_rows.py
-- reads the same. `next` is the fire time to be acted on at `act`, 0 for none. Needs m.
local HEAD = '>c7BBBI4I4I8I8I8I8I8I8I8BI4I4I4I4I4I4I4I4I4I8'
local FIELDS = {
  'number', 'flags', 'overlap', 'misfire', 'version', 'first', 'grace', 'max', 'next', 'act',
  'last', 'buffered', 'buffered_previous', 'buffered_cause', 'pause_after', 'decided', 'fired',
  'overlaps', 'misfires', 'refused', 'completed', 'failed', 'in_row', 'run',
}
local PAUSED, SYSTEM, ENDED, FAILING = 1, 2, 4, 8 -- luacheck: ignore
local ALLOW, SKIP, BUFFER_ONE, CANCEL_PREVIOUS = 1, 2, 3, 4 -- luacheck: ignore
local NOBODY = ('\0'):rep(7)

local function read_schedule(raw)
  if not raw then return false end
  local values, row = { struct.unpack(HEAD, raw) }, {}
  for at, name in ipairs(FIELDS) do row[name] = values[at] end
  row.reason = raw:sub(values[#FIELDS + 1])
  return row
end

local function pack_schedule(row)
  local values = {}
  for at, name in ipairs(FIELDS) do values[at] = row[name] end
  return struct.pack(HEAD, unpack(values)) .. row.reason
end

local function read_schedules(ids)
  local rows = {}
  if #ids > 0 then
    for at, raw in ipairs(redis.call('HMGET', m, unpack(ids))) do rows[at] = read_schedule(raw) end
  end
  return rows
end

local function is(row, flag)
  return row.flags % (2 * flag) >= flag
end

local function mark(row, flag, on) -- luacheck: ignore
  if is(row, flag) ~= on then row.flags = row.flags + (on and flag or -flag) end
end

-- Whether it is the schedule, and the version of it, that somebody saw; NOBODY and 0 are any.
local function is_expected(row, number, version) -- luacheck: ignore
  if number ~= NOBODY and number ~= row.number then return false end
  return version == 0 or version == row.version
end

-- When to look at it, 0 for never.
local function look_at(row) -- luacheck: ignore
  return is(row, PAUSED) and 0 or row.act
end
