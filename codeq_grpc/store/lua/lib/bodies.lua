-- The specs of chosen tasks. One whose body is gone cannot be run, and would spoil the reply of
-- all: it is not leased, has left the list, and is for the doctor to find; what was parked behind
-- it is looked at again. Gives ids, rows and specs, and whether there were such. Needs s b.
local function with_bodies(ids, rows)
  local specs = #ids > 0 and redis.call('HMGET', b, unpack(ids)) or {}
  local whole = { {}, {}, {} }
  for i, id in ipairs(ids) do
    if specs[i] then
      local n = #whole[1] + 1
      whole[1][n], whole[2][n], whole[3][n] = id, rows[i], specs[i]
    end
  end
  if #whole[1] < #ids then redis.call('HSET', s, 'unpark', '') end
  return whole[1], whole[2], whole[3], #whole[1] < #ids
end
