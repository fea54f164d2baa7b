-- The claim part of a row, `>I4I8I8B`: lease_ms, since when the task was claimable, when it was
-- claimed, length of the owner; then owner stream and worker.
local CLAIM_HEAD = '>I4I8I8B'
local function claim_of(row)
  local lease, since, start, length, at = struct.unpack(CLAIM_HEAD, row[CLAIM])
  return lease, since, start, row[CLAIM]:sub(at, at + length - 1), row[CLAIM]:sub(at + length)
end

local function owner(row)
  local claim = row[CLAIM]
  return claim == '' and '' or claim:sub(22, 21 + claim:byte(21))
end

-- No lease lasts beyond the task's expiry or the end of its attempt's time.
local function capped(row, start, time)
  if not (has(row, HAS_EXPIRY) or has(row, HAS_TIMEOUT)) then return time end
  local parts = fixed(row)
  time = math.min(time, parts.expiry or math.huge)
  return math.min(time, parts.timeout and start + parts.timeout or math.huge)
end
