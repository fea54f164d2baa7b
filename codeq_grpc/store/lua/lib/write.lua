-- One call a structure, cut where Lua's stack would end; `list` in groups of one or two.
local function write(command, key, list)
  for at = 1, #list, 4000 do
    redis.call(command, key, unpack(list, at, math.min(at + 3999, #list)))
  end
end
