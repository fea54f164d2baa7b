-- The claim part of a meta row, `>I4I8B` then owner and worker.
local function claim_lease(row)
  return (struct.unpack('>I4', row.claim))
end

local function claimable_since(row)
  return (struct.unpack('>I8', row.claim, 5))
end

local function owner(row)
  local length = struct.unpack('>B', row.claim, 13)
  return row.claim:sub(14, 13 + length)
end
