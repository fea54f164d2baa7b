-- Concurrency keys: `k` has the ids that hold a key, seven bytes each, `kw` the tasks parked till
-- one of them lets go, as key, NUL, 9 - priority, id. Needs k kw.
local function parked_as(id, row)
  return fixed(row).key .. '\0' .. string.char(9 - row[PRIORITY]) .. id
end

local function without(holders, ids)
  local leaving, kept = {}, {}
  for _, id in ipairs(ids) do leaving[id] = true end
  for at = 1, #holders, 7 do
    local id = holders:sub(at, at + 6)
    if not leaving[id] then kept[#kept + 1] = id end
  end
  return table.concat(kept)
end

local function parked_under(key, skip, most)
  return redis.call('ZRANGEBYLEX', kw, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', skip, most)
end
