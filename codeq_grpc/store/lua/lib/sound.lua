-- What a script cannot read ends it: rows, labels and histories that none of ours wrote. Needs m.
local BEYOND = 100000000000000 -- no time in ms is later
local LATEST = 9007199254740992 -- nor any fence, of which a number keeps every bit

-- Whether a text is nothing but parts of `least` bytes or more, each behind its length.
local function is_chain(text, least)
  local at = 1
  while at < #text do
    local length = struct.unpack('>I2', text, at)
    if length < least then return false end
    at = at + 2 + length
  end
  return at == #text + 1
end

-- Where the part of a row ends that its producer fixed, by its flags; 0 for nowhere.
local function end_of_fixed(row, raw, at)
  for flag, size in pairs({ [HAS_POLICY] = 24, [HAS_EXPIRY] = 8, [HAS_TIMEOUT] = 4 }) do
    if has(row, flag) then at = at + size end
  end
  for _, flag in ipairs({ HAS_IDEMPOTENCY, HAS_KEY, HAS_TYPES }) do
    if has(row, flag) then
      if at >= #raw then return 0 end
      at = at + 2 + struct.unpack('>I2', raw, at)
    end
  end
  return at
end

local function is_sound(raw)
  if #raw < 43 then return false end
  local state, flags, priority, _, _, ending, _, _, _, fence, time, since, at =
    struct.unpack(HEAD, raw)
  if state < BLOCKED or state > EXPIRED or priority > 9 or ending > 4 then return false end
  if fence > LATEST or math.max(time, since) > BEYOND then return false end
  local row = { state, flags }
  if flags % 256 > 0 then
    if at >= #raw then return false end
    local behind = at + 2 + struct.unpack('>I2', raw, at)
    if behind > #raw + 1 or end_of_fixed(row, raw, at + 2) ~= behind then return false end
    at = behind
  end
  local claim = #raw + 1 - at
  if not has(row, HAS_CLAIM) then return claim == 0 and state ~= IN_PROGRESS end
  return claim >= 21 and 21 + raw:byte(at + 20) <= claim
end

-- As read_rows has them, but `true` for a row that cannot be read.
local function safe_rows(ids)
  local rows = #ids > 0 and redis.call('HMGET', m, unpack(ids)) or {}
  for i, raw in ipairs(rows) do rows[i] = raw and (not is_sound(raw) or read_row(raw)) end
  return rows
end
