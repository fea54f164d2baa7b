-- Meta rows: 43 bytes of head; then, if any of the flags below 256 is set, the length of what the
-- producer fixed and that; then, with flag 256, the latest claim. store/rows.py reads the same.
-- A row that a purge has cancelled reads as CANCELLED; WAS is the state of its index. A task with
-- flag TWICE came back and may stand in a list twice. A plain row has none but a claim: most have.
local HEAD = '>BI2BBBBI4I4I4I8I8I8'
local STATE, FLAGS, PRIORITY, ATTEMPT, MAX, ENDING = 1, 2, 3, 4, 5, 6 -- luacheck: ignore
local SIZE, REST, LEASE, FENCE, TIME, CHANGED = 7, 8, 9, 10, 11, 12 -- luacheck: ignore
local FIXED, CLAIM, WAS = 13, 14, 15 -- luacheck: ignore
local BLOCKED, SCHEDULED, PENDING, IN_PROGRESS = 1, 2, 3, 4 -- luacheck: ignore
local COMPLETED, FAILED, CANCELLED, EXPIRED = 5, 6, 7, 8 -- luacheck: ignore
local HAS_POLICY, HAS_EXPIRY, HAS_TIMEOUT, HAS_IDEMPOTENCY = 1, 2, 4, 8 -- luacheck: ignore
local HAS_KEY, HAS_TYPES, HAS_LABELS = 16, 32, 64 -- luacheck: ignore
local HAS_CLAIM, CANCELLING, PARKED = 256, 512, 1024 -- luacheck: ignore
local HAS_CHECKPOINT, FOLLOWED, HAS_HISTORY = 2048, 4096, 8192 -- luacheck: ignore
local TWICE = 16384 -- luacheck: ignore

local function has(row, flag)
  return row[FLAGS] % (2 * flag) >= flag
end

local function set_flag(row, flag, on)
  if has(row, flag) ~= on then row[FLAGS] = row[FLAGS] + (on and flag or -flag) end
end

local PLAIN = { [0] = true, [HAS_CLAIM] = true } -- luacheck: ignore
local function read_row(raw)
  if not raw then return false end
  local state, flags, priority, attempt, max, ending, size, rest, lease, fence, time, changed, at =
    struct.unpack(HEAD, raw)
  local fixed, claim = '', ''
  if flags % 256 > 0 then
    local length = struct.unpack('>I2', raw, at)
    fixed = raw:sub(at + 2, at + 1 + length)
    at = at + 2 + length
  end
  if flags >= HAS_CLAIM then claim = raw:sub(at) end
  -- With all its fields at once: a table that grows is made anew again and again.
  local row = {
    state, flags, priority, attempt, max, ending, size, rest, lease, fence, time, changed, fixed,
    claim, state,
  }
  if state <= PENDING and changed <= Q.purged then
    row[STATE], row[TIME], row.purged = CANCELLED, Q.purged, true
  end
  return row
end

local function read_rows(ids)
  local rows = {}
  if #ids > 0 then
    for i, raw in ipairs(redis.call('HMGET', m, unpack(ids))) do rows[i] = read_row(raw) end
  end
  return rows
end

local function pack_row(row)
  local fixed = row[FLAGS] % 256 > 0 and struct.pack('>I2', #row[FIXED]) .. row[FIXED] or ''
  if row[FLAGS] ~= HAS_CLAIM or row[CLAIM] == '' then
    set_flag(row, HAS_CLAIM, row[CLAIM] ~= '')
  end
  return struct.pack(HEAD, unpack(row, 1, CHANGED)) .. fixed .. row[CLAIM]
end

local NOTHING = { policy = '', idempotency = '', key = '', types = '' }
local function fixed(row)
  if row[FIXED] == '' then return NOTHING end
  if row.parts then return row.parts end
  local parts, at, text = {}, 1, row[FIXED]
  local function take(flag, format)
    if not has(row, flag) then return nil end
    local value
    value, at = struct.unpack(format, text, at)
    return value
  end
  local function take_text(flag)
    local length = take(flag, '>I2') or 0
    at = at + length
    return text:sub(at - length, at - 1)
  end
  parts.policy = has(row, HAS_POLICY) and text:sub(1, 24) or ''
  at = 1 + #parts.policy
  parts.expiry = take(HAS_EXPIRY, '>I8')
  parts.timeout = take(HAS_TIMEOUT, '>I4')
  parts.idempotency, parts.key, parts.types =
    take_text(HAS_IDEMPOTENCY), take_text(HAS_KEY), take_text(HAS_TYPES)
  row.parts = parts
  return parts
end
