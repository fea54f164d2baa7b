-- Meta rows: 38 bytes of head, then the task's own retry policy, if any (flag 1, 24 bytes), then
-- the latest claim, if any (flag 2): its lease_ms, when the task had become claimable, owner
-- stream and worker. store/rows.py reads the same layout.
local HEAD = '>BBBBBBI4I4I8I8I8'
local STATE, FLAGS, PRIORITY, ATTEMPT, MAX = 1, 2, 3, 4, 5 -- luacheck: ignore
local ENDING, SIZE, LEASE, FENCE, TIME, CHANGED = 6, 7, 8, 9, 10, 11 -- luacheck: ignore
local SCHEDULED, PENDING, IN_PROGRESS, COMPLETED, FAILED = 2, 3, 4, 5, 6 -- luacheck: ignore
local HAS_POLICY, HAS_CLAIM = 1, 2

local function has(flags, flag)
  return flags % (2 * flag) >= flag
end

local function read_row(raw)
  if not raw then return false end
  local row = { struct.unpack(HEAD, raw) }
  local at = row[12]
  row.policy, row.claim = '', ''
  if has(row[FLAGS], HAS_POLICY) then
    row.policy = raw:sub(at, at + 23)
    at = at + 24
  end
  if has(row[FLAGS], HAS_CLAIM) then row.claim = raw:sub(at) end
  return row
end

local function read_rows(key, ids)
  local rows = {}
  if #ids > 0 then
    for i, raw in ipairs(redis.call('HMGET', key, unpack(ids))) do rows[i] = read_row(raw) end
  end
  return rows
end

local function pack_row(row)
  local flags = (row.policy ~= '' and HAS_POLICY or 0) + (row.claim ~= '' and HAS_CLAIM or 0)
  row[FLAGS] = flags
  return struct.pack(HEAD, unpack(row, 1, CHANGED)) .. row.policy .. row.claim
end
