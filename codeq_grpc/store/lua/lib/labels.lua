-- Labels: `v` has an entry of score 0, label and id, for each. A label is key, NUL, value, NUL.
local function labels_of(packed)
  local labels, at = {}, 1
  while packed and at <= #packed do
    local length = struct.unpack('>I2', packed, at)
    labels[#labels + 1] = packed:sub(at + 2, at + 1 + length)
    at = at + 2 + length
  end
  return labels
end
